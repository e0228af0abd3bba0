//! Finds the best values of rows of scores, and the sum of exp of all of them.
//!
//! One pass compares 16 values at a time with the worst of the list, which few exceed; a second sums. The sum is of exp(x - top), in
//! f32 for at most 32 terms and in f64 beyond. It does not depend on the length of the list, nor on other rows.
use super::exp::Powers;
use crate::simd::floats::Floats;

/// Number of columns that are summed in f32.
const BLOCK: usize = 32;

/// A value of a row and its column.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Entry {
    pub value: f32,
    pub column: u32,
}

/// A unit of work is a row.
pub struct Args {
    /// Shape (rows, 1 + count), of 8 bytes each: the sum in f64, then the entries, largest first, the lower column first among equals.
    pub out: *mut u8,
    /// Shape (rows, cols), rows `x_stride` apart.
    pub x: *const f32,
    pub x_stride: usize,
    pub cols: usize,
    /// At least 1, at most `cols`.
    pub count: usize,
}

/// Computes rows `lo..hi`. The sum is NaN if a value is NaN or +Infinity, or if all are -Infinity; the entries then mean nothing.
///
/// # Safety
/// The rows must be as described, `out` on an 8-byte boundary.
pub unsafe fn body<I: Floats>(args: &Args, lo: usize, hi: usize, _: *mut u8) {
    let powers = Powers::<I>::load();
    for row in lo..hi {
        // SAFETY: as for this function.
        unsafe {
            let out = args.out.add(row * (1 + args.count) * 8);
            let list = out.add(8).cast::<Entry>();
            let x = args.x.add(row * args.x_stride);
            select::<I>(list, args.count, x, args.cols);
            *out.cast::<f64>() = sum(&powers, x, args.cols, (*list).value);
        }
    }
}

/// # Safety
/// `count` entries must be writable at `list`, `cols` floats readable at `x`; `count` is at least 1 and at most `cols`.
#[inline(always)]
unsafe fn select<I: Floats>(list: *mut Entry, count: usize, x: *const f32, cols: usize) {
    // SAFETY: all columns are below `cols`.
    unsafe {
        for column in 0..count {
            insert(list, column, *x.add(column), column);
        }
        let worst = list.add(count - 1);
        let mut column = count;
        while column < cols {
            let end = cols.min(column + 16);
            let four = |at: usize| I::load(x.add(column + 4 * at));
            let most = || I::pmax(I::pmax(four(0), four(1)), I::pmax(four(2), four(3)));
            if end < column + 16 || I::any_above(most(), I::splat((*worst).value)) {
                above(list, count, x, column, end);
            }
            column = end;
        }
    }
}

/// Enters those of columns `from..to` that exceed the last of a full list.
///
/// # Safety
/// As for `select`.
#[inline(always)]
unsafe fn above(list: *mut Entry, count: usize, x: *const f32, from: usize, to: usize) {
    for column in from..to {
        // SAFETY: as for this function.
        unsafe {
            let value = *x.add(column);
            if value > (*list.add(count - 1)).value {
                insert(list, count - 1, value, column);
            }
        }
    }
}

/// Enters a value into the first `held` entries, behind those that are at least as large.
///
/// # Safety
/// `held + 1` entries must be writable at `list`.
#[inline(never)]
unsafe fn insert(list: *mut Entry, held: usize, value: f32, column: usize) {
    let mut at = held;
    // SAFETY: `at` is at most `held`.
    unsafe {
        while at > 0 && (*list.add(at - 1)).value < value {
            *list.add(at) = *list.add(at - 1);
            at -= 1;
        }
        *list.add(at) = Entry { value, column: column as u32 };
    }
}

/// Returns the sum of exp(x - top); NaN if one of the differences is NaN.
///
/// # Safety
/// `cols` floats must be readable at `x`.
#[inline(always)]
unsafe fn sum<I: Floats>(powers: &Powers<I>, x: *const f32, cols: usize, top: f32) -> f64 {
    let tops = I::splat(top);
    let mut sum = 0.0;
    // Engines may drop a NaN in `of_e`, so the differences, none of which is above 0, are summed, too.
    let mut differences = I::splat(0.0);
    let mut last = [f32::NEG_INFINITY; BLOCK];
    for block in (0..cols).step_by(BLOCK) {
        // SAFETY: all accesses are below `cols`, or in `last`.
        unsafe {
            let mut from = x.add(block);
            if block + BLOCK > cols {
                last.as_mut_ptr().copy_from_nonoverlapping(from, cols - block);
                from = last.as_ptr();
            }
            let mut part = I::splat(0.0);
            // Kept as a loop: unrolled, its vectors would exceed an engine's registers.
            let end = from.add(core::hint::black_box(BLOCK));
            while from < end {
                let d = I::sub(I::load(from), tops);
                differences = I::add(differences, d);
                part = I::add(part, powers.of_e(d));
                from = from.add(4);
            }
            sum += I::total(part) as f64;
        }
    }
    if I::total(differences).is_nan() { f64::NAN } else { sum }
}
