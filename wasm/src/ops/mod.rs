//! One file per kernel; each has its arguments, its body over a range of units, and its shape comments.
