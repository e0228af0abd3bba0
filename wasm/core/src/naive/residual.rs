//! The wire's residuals by definition: an integer range decoder, one code at a time.

struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    code: u64,
    range: u64,
}

impl Bits<'_> {
    fn next(&mut self) -> u64 {
        let byte = self.bytes.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        byte as u64
    }

    /// Decodes a bit that splits the range at `split`.
    fn split(&mut self, split: u64) -> bool {
        let one = self.code >= split;
        (self.code, self.range) = if one { (self.code - split, self.range - split) } else { (self.code, split) };
        while self.range < 1 << 24 {
            (self.code, self.range) = (self.code * 256 + self.next(), self.range * 256);
        }
        one
    }

    fn even(&mut self) -> bool {
        let half = self.range / 2;
        // The odd remainder of a range is unused.
        self.range = 2 * half;
        self.split(half)
    }

    /// Decodes a bit with a model: two estimates of the probability of 0, in 2^-15.
    fn bit(&mut self, model: &mut (u64, u64)) -> bool {
        let one = self.split(self.range / 32_768 * ((model.0 + model.1) / 2));
        *model = if one {
            (model.0 - model.0 / 32, model.1 - model.1 / 128)
        } else {
            (model.0 + (32_768 - model.0) / 32, model.1 + (32_768 - model.1) / 128)
        };
        one
    }
}

/// The codes by (layer, unit, token, dimension), and whether exactly all bytes were used; `sent` says what is coded.
pub fn decode(
    bytes: &[u8],
    (layers, heads, dim, tokens): (usize, usize, usize, usize),
    sent: impl Fn(usize, usize, usize) -> bool,
) -> (Vec<i64>, bool) {
    let mut bits = Bits { bytes, at: 0, code: 0, range: u32::MAX as u64 };
    for _ in 0..4 {
        bits.code = bits.code * 256 + bits.next();
    }
    let model = |start: i64, by: i64, least: i64| -> Vec<(u64, u64)> {
        (0..16).map(|level| (start - by * level).max(least) as u64).map(|p| (p, p)).collect()
    };
    let of_kind = || [model(31_500, 1_900, 4_000), model(30_500, 1_300, 10_000), model(28_000, 1_100, 10_000)];
    let mut models = [of_kind(), of_kind()];
    let mut rest = vec![(18_000, 18_000); 14];
    let mut codes = Vec::new();
    for layer in 0..layers {
        for unit in 0..2 * heads {
            let mut columns = vec![10i64; dim];
            let mut row = 10i64;
            for _ in 0..tokens {
                for d in 0..dim {
                    if !sent(layer, unit, d) {
                        codes.push(0);
                        continue;
                    }
                    let begin = [2, 4, 6, 9, 12, 16, 21, 27, 35, 45, 60, 80, 110, 160, 260];
                    let level = begin.iter().filter(|&&from| columns[d] + row >= from).count();
                    let code = code(&mut bits, &mut models[unit % 2], level, &mut rest);
                    let size = code.abs().min(63) * 16;
                    columns[d] += (size - columns[d] + 4) >> 3;
                    row += (size - row + 8) >> 4;
                    codes.push(code);
                }
            }
        }
    }
    (codes, bits.at == bytes.len())
}

fn code(bits: &mut Bits, models: &mut [Vec<(u64, u64)>; 3], level: usize, rest: &mut [(u64, u64)]) -> i64 {
    if !bits.bit(&mut models[0][level]) {
        return 0;
    }
    let sign = if bits.even() { -1 } else { 1 };
    if !bits.bit(&mut models[1][level]) {
        return sign;
    }
    if !bits.bit(&mut models[2][level]) {
        return 2 * sign;
    }
    let mut size = 3;
    for model in rest.iter_mut() {
        if !bits.bit(model) {
            return size * sign;
        }
        size += 1;
    }
    let mut length = 0;
    while length < 40 && bits.even() {
        length += 1;
    }
    let left = (0..length).fold(1, |value, _| 2 * value + bits.even() as i64);
    (size + left - 1) * sign
}
