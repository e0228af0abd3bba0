//! The codes of values: binary16, int8 with a scale for each token, int4 rows.
use super::{GROUP, Part, ROW};
use crate::simd::floats::Floats;

/// The int8 scale of each token, absmax / 127, and its inverse, as pages have them: 0 and 0 for zeros.
pub unsafe fn token_scales<I: Floats>(
    part: Part,
    dim: usize,
    n: usize,
    tile: *const f32,
    scales: *mut f32,
    inverses: *mut f32,
) {
    // SAFETY: the caller's tile; scales and inverses have room for a whole group.
    unsafe {
        match part {
            Part::K => {
                for i in (0..n).step_by(4) {
                    let mut most = I::splat(0.0);
                    for d in 0..dim {
                        most = I::pmax(most, size::<I>(I::load(tile.add(d * GROUP + i))));
                    }
                    I::store(scales.add(i), most);
                }
            }
            Part::V => {
                for token in 0..n {
                    let mut most = I::splat(0.0);
                    for d in (0..dim).step_by(4) {
                        most = I::pmax(most, size::<I>(I::load(tile.add(token * dim + d))));
                    }
                    *scales.add(token) = I::largest(most);
                }
            }
        }
        for token in 0..n {
            let most = *scales.add(token);
            let zero = most < 1e-36;
            *scales.add(token) = if zero { 0.0 } else { most / 127.0 };
            *inverses.add(token) = if zero { 0.0 } else { 127.0 / most };
        }
    }
}

/// |x|; the largest float for infinity.
#[inline(always)]
fn size<I: Floats>(x: I::F) -> I::F {
    I::pmin(I::abs(x), I::splat(f32::MAX))
}

/// Values times their token's inverse scale, rounded: K (dim, n), V (n, dim).
pub unsafe fn store_bytes<I: Floats>(
    part: Part,
    dim: usize,
    n: usize,
    tile: *const f32,
    inverses: *const f32,
    to: *mut u8,
) {
    // SAFETY: the caller's tile and bytes.
    unsafe {
        match part {
            Part::K => {
                for d in 0..dim {
                    let mut row = [0i8; GROUP];
                    for i in (0..n).step_by(8) {
                        let scaled = |i| I::mul(I::load(tile.add(d * GROUP + i)), I::load(inverses.add(i)));
                        I::store_i8(row.as_mut_ptr().add(i), scaled(i), scaled(i + 4));
                    }
                    to.cast::<i8>().add(d * n).copy_from_nonoverlapping(row.as_ptr(), n);
                }
            }
            Part::V => {
                for token in 0..n {
                    let inverse = I::splat(*inverses.add(token));
                    for d in (0..dim).step_by(8) {
                        let from = tile.add(token * dim + d);
                        let scaled = |from: *const f32| I::mul(I::load(from), inverse);
                        I::store_i8(to.cast::<i8>().add(token * dim + d), scaled(from), scaled(from.add(4)));
                    }
                }
            }
        }
    }
}

pub unsafe fn load_bytes(part: Part, dim: usize, n: usize, tile: *mut f32, scales: *const f32, from: *const u8) {
    let from = from.cast::<i8>();
    // SAFETY: the caller's tile and bytes.
    unsafe {
        match part {
            Part::K => {
                for d in 0..dim {
                    for token in 0..n {
                        *tile.add(d * GROUP + token) = *from.add(d * n + token) as f32 * *scales.add(token);
                    }
                }
            }
            Part::V => {
                for token in 0..n {
                    let scale = *scales.add(token);
                    for d in 0..dim {
                        *tile.add(token * dim + d) = *from.add(token * dim + d) as f32 * scale;
                    }
                }
            }
        }
    }
}

pub unsafe fn store_halves<I: Floats>(to: *mut u8, from: *const f32, count: usize) {
    let whole = count / 8 * 8;
    // SAFETY: the caller's bytes; floats up to the next 8 are of the tile.
    unsafe {
        for i in (0..whole).step_by(8) {
            I::store_f16(to.add(2 * i).cast(), I::load(from.add(i)), I::load(from.add(i + 4)));
        }
        if whole < count {
            let mut eight = [0u16; 8];
            I::store_f16(eight.as_mut_ptr(), I::load(from.add(whole)), I::load(from.add(whole + 4)));
            to.add(2 * whole).copy_from_nonoverlapping(eight.as_ptr().cast(), 2 * (count - whole));
        }
    }
}

/// Halves of any bits: those that are not finite become large numbers.
pub unsafe fn load_halves<I: Floats>(to: *mut f32, from: *const u8, count: usize) {
    let whole = count / 8 * 8;
    // SAFETY: the caller's bytes; floats up to the next 8 are of the tile.
    unsafe {
        for i in (0..whole).step_by(8) {
            let (a, b) = I::load_f16(from.add(2 * i).cast());
            I::store(to.add(i), a);
            I::store(to.add(i + 4), b);
        }
        if whole < count {
            let mut eight = [0u16; 8];
            eight.as_mut_ptr().cast::<u8>().copy_from_nonoverlapping(from.add(2 * whole), 2 * (count - whole));
            let (a, b) = I::load_f16(eight.as_ptr());
            I::store(to.add(whole), a);
            I::store(to.add(whole + 4), b);
        }
    }
}

/// At most 32 values: binary16 d and m, then nibbles q, value = d * q + m.
pub unsafe fn encode_row<I: Floats>(to: *mut u8, from: *const f32, w: usize) {
    let mut values = [0.0f32; ROW];
    let mut codes = [0i8; ROW];
    // SAFETY: the caller's values and bytes.
    unsafe {
        values.as_mut_ptr().copy_from_nonoverlapping(from, w);
        let first = values[0];
        values[w..].fill(first);
        let four = |i: usize| I::load(values.as_ptr().add(i));
        let (mut least, mut most) = (four(0), four(0));
        for i in (4..ROW).step_by(4) {
            least = I::pmin(least, four(i));
            most = I::pmax(most, four(i));
        }
        let most = I::largest(most);
        let least = -I::largest(I::sub(I::splat(0.0), least));
        let mut params = [0u16; 8];
        let wanted = [(most - least) / 15.0, least, 0.0, 0.0];
        I::store_f16(params.as_mut_ptr(), I::load(wanted.as_ptr()), I::splat(0.0));
        to.copy_from_nonoverlapping(params.as_ptr().cast(), 4);
        let mut back = [0.0f32; 4];
        I::store(back.as_mut_ptr(), I::load_f16(params.as_ptr()).0);
        let [d, m, ..] = back;
        let inverse = I::splat(if d > 0.0 { 1.0 / d } else { 0.0 });
        let code = |i: usize| {
            let steps = I::mul(I::sub(four(i), I::splat(m)), inverse);
            I::pmin(I::pmax(steps, I::splat(0.0)), I::splat(15.0))
        };
        for i in (0..ROW).step_by(8) {
            I::store_i8(codes.as_mut_ptr().add(i), code(i), code(i + 4));
        }
        let half = w.div_ceil(2);
        let mut bytes = [0u8; ROW / 2];
        if w == ROW {
            for i in 0..ROW / 2 {
                bytes[i] = codes[i] as u8 | (codes[i + ROW / 2] as u8) << 4;
            }
        } else {
            for i in 0..half {
                bytes[i] = codes[i] as u8 | if i + half < w { (codes[i + half] as u8) << 4 } else { 0 };
            }
        }
        to.add(4).copy_from_nonoverlapping(bytes.as_ptr(), half);
    }
}

pub unsafe fn decode_row<I: Floats>(to: *mut f32, from: *const u8, w: usize) {
    let mut params = [0u16; 8];
    let half = w.div_ceil(2);
    let mut bytes = [0u8; ROW / 2];
    // SAFETY: the caller's values and bytes.
    unsafe {
        params.as_mut_ptr().cast::<u8>().copy_from_nonoverlapping(from, 4);
        let mut back = [0.0f32; 4];
        I::store(back.as_mut_ptr(), I::load_f16(params.as_ptr()).0);
        let [d, m, ..] = back;
        bytes.as_mut_ptr().copy_from_nonoverlapping(from.add(4), half);
        let mut low = [0.0f32; ROW / 2];
        let mut high = [0.0f32; ROW / 2];
        for i in 0..ROW / 2 {
            low[i] = d * (bytes[i] & 15) as f32 + m;
            high[i] = d * (bytes[i] >> 4) as f32 + m;
        }
        to.copy_from_nonoverlapping(low.as_ptr(), half);
        to.add(half).copy_from_nonoverlapping(high.as_ptr(), w - half);
    }
}
