//! An adaptive binary range coder: 32-bit range, bytes out from the top with carries held back (G. N. N. Martin, 1979; the carry as in
//! I. Pavlov's LZMA). A bit's probability is the mean of two estimates, one that learns fast and one that learns well.

/// Bits of a probability.
const BITS: u32 = 15;
const TOP: u32 = 1 << 24;

/// The probability that a bit is 0, in 2^-15, by two estimates.
#[derive(Clone, Copy)]
pub struct Bit {
    fast: u16,
    slow: u16,
}

impl Bit {
    /// `zero`: the share of zeros, in 2^-15.
    pub const fn new(zero: u16) -> Self {
        Self { fast: zero, slow: zero }
    }

    #[inline(always)]
    fn zero(self) -> u32 {
        // Never 0 and never all: the estimates stay within 31 and 2^15 - 127.
        (self.fast as u32 + self.slow as u32) >> 1
    }

    #[inline(always)]
    fn learn(&mut self, bit: bool) {
        if bit {
            self.fast -= self.fast >> 5;
            self.slow -= self.slow >> 7;
        } else {
            self.fast += (((1 << BITS) - self.fast as u32) >> 5) as u16;
            self.slow += (((1 << BITS) - self.slow as u32) >> 7) as u16;
        }
    }
}

/// Writes bits to at most `room` bytes at `to`; further bytes are only counted.
pub struct Encoder {
    to: *mut u8,
    room: usize,
    /// Bytes needed so far.
    pub bytes: usize,
    low: u64,
    range: u32,
    held: u8,
    /// Bytes of 255 after `held`, which a carry would change; the first byte is not counted.
    pending: usize,
    begun: bool,
}

impl Encoder {
    pub fn new(to: *mut u8, room: usize) -> Self {
        Self { to, room, bytes: 0, low: 0, range: u32::MAX, held: 0, pending: 0, begun: false }
    }

    /// # Safety
    /// `room` bytes are writable; so for `end`.
    #[inline(always)]
    pub unsafe fn bit(&mut self, model: &mut Bit, bit: bool) {
        let split = (self.range >> BITS) * model.zero();
        if bit {
            self.low += split as u64;
            self.range -= split;
        } else {
            self.range = split;
        }
        model.learn(bit);
        // SAFETY: as for this function.
        unsafe { self.normalise() }
    }

    /// A bit that is as likely 0 as 1.
    ///
    /// # Safety
    /// As for `bit`.
    #[inline(always)]
    pub unsafe fn even(&mut self, bit: bool) {
        self.range >>= 1;
        if bit {
            self.low += self.range as u64;
        }
        // SAFETY: as for `bit`.
        unsafe { self.normalise() }
    }

    /// Writes the bytes held back. Nothing may follow.
    ///
    /// # Safety
    /// As for `bit`.
    pub unsafe fn end(&mut self) {
        for _ in 0..5 {
            // SAFETY: as for `bit`.
            unsafe { self.shift() }
        }
    }

    #[inline(always)]
    unsafe fn normalise(&mut self) {
        while self.range < TOP {
            self.range <<= 8;
            // SAFETY: as for `bit`.
            unsafe { self.shift() }
        }
    }

    unsafe fn shift(&mut self) {
        if self.low < 0xff00_0000 || self.low > u32::MAX as u64 {
            let carry = (self.low >> 32) as u8;
            // SAFETY: as for `bit`.
            unsafe {
                if self.begun {
                    self.put(self.held.wrapping_add(carry));
                }
                while self.pending > 0 {
                    self.put(carry.wrapping_sub(1));
                    self.pending -= 1;
                }
            }
            self.begun = true;
            self.held = (self.low >> 24) as u8;
        } else {
            self.pending += 1;
        }
        self.low = (self.low & 0x00ff_ffff) << 8;
    }

    unsafe fn put(&mut self, byte: u8) {
        if self.bytes < self.room {
            // SAFETY: within `room`.
            unsafe { *self.to.add(self.bytes) = byte }
        }
        self.bytes += 1;
    }
}

/// Reads bits from `length` bytes; zeros follow them.
pub struct Decoder {
    from: *const u8,
    length: usize,
    /// Bytes requested so far, including those past the end.
    pub read: usize,
    code: u32,
    range: u32,
}

impl Decoder {
    /// # Safety
    /// `length` bytes are readable for as long as it lives.
    pub unsafe fn new(from: *const u8, length: usize) -> Self {
        let mut decoder = Self { from, length, read: 0, code: 0, range: u32::MAX };
        for _ in 0..4 {
            decoder.code = decoder.code << 8 | decoder.next() as u32;
        }
        decoder
    }

    #[inline(always)]
    pub fn bit(&mut self, model: &mut Bit) -> bool {
        let split = (self.range >> BITS) * model.zero();
        let bit = self.code >= split;
        if bit {
            self.code -= split;
            self.range -= split;
        } else {
            self.range = split;
        }
        model.learn(bit);
        self.normalise();
        bit
    }

    #[inline(always)]
    pub fn even(&mut self) -> bool {
        self.range >>= 1;
        let bit = self.code >= self.range;
        if bit {
            self.code -= self.range;
        }
        self.normalise();
        bit
    }

    /// Returns true if exactly all bytes were requested, as at an encoder's end.
    pub fn at_end(&self) -> bool {
        self.read == self.length
    }

    #[inline(always)]
    fn normalise(&mut self) {
        while self.range < TOP {
            self.range <<= 8;
            self.code = self.code << 8 | self.next() as u32;
        }
    }

    #[inline(always)]
    fn next(&mut self) -> u8 {
        let at = self.read;
        self.read += 1;
        // SAFETY: within `length`.
        if at < self.length { unsafe { *self.from.add(at) } } else { 0 }
    }
}
