//! Blocks of pages as bytes of the wire, against the formats' definitions, over ragged shapes and all kinds of pages.
mod common;
use common::{Random, seed, set_scratch};
use foretoken_core::naive::wire as naive;
use foretoken_core::ops::wire::{Codec, Part};
use foretoken_core::{kv_layer_bytes, scratch_bytes, wire_bytes, wire_decode, wire_encode, write_kv};

const CODECS: [Codec; 4] = [Codec::F32, Codec::F16, Codec::I8, Codec::I4];

/// A layer's pages, some in use and one that nobody may touch, in an order of their own.
struct Pool {
    kv_type: u32,
    heads: usize,
    dim: usize,
    bytes: Vec<u8>,
    page_bytes: usize,
    pages: Vec<u32>,
}

impl Pool {
    fn new(kv_type: u32, heads: usize, dim: usize, tokens: usize) -> Self {
        let page_bytes = kv_layer_bytes(kv_type, heads, dim) as usize + 64;
        let count = tokens.div_ceil(16);
        let pages = (0..count as u32).map(|page| count as u32 - page).collect();
        Self { kv_type, heads, dim, bytes: vec![0xa5; (count + 1) * page_bytes], page_bytes, pages }
    }

    fn filled(random: &mut Random, kv_type: u32, heads: usize, dim: usize, tokens: usize) -> Self {
        let mut pool = Self::new(kv_type, heads, dim, tokens);
        let width = heads * dim;
        let mut x = random.floats(tokens * 2 * width, 3.0);
        // Outliers, zeros, a whole token of them, and a value that is less than nothing.
        for value in x.iter_mut().step_by(97) {
            *value *= 30.0;
        }
        x[..width].fill(0.0);
        x[2 * width * (tokens - 1)] = 1e-30;
        let slots: Vec<u32> = (0..tokens).map(|t| pool.pages[t / 16] * 16 + (t % 16) as u32).collect();
        let base = pool.bytes.as_mut_ptr();
        let status = unsafe {
            write_kv(
                kv_type,
                base,
                pool.page_bytes,
                x.as_ptr(),
                2 * width,
                0,
                width,
                heads,
                dim,
                slots.as_ptr(),
                tokens,
            )
        };
        assert_eq!(status, 0);
        pool
    }

    fn encode(&mut self, codec: Codec, tokens: usize, first: usize, units: usize) -> Vec<u8> {
        let length: usize =
            (first..first + units).map(|unit| wire_bytes(codec as u32, unit % 2, self.dim, tokens) as usize).sum();
        let mut out = vec![0x5a; length + 32];
        let status = unsafe {
            wire_encode(
                codec as u32,
                out.as_mut_ptr(),
                self.kv_type,
                self.bytes.as_mut_ptr(),
                self.page_bytes,
                self.heads,
                self.dim,
                self.pages.as_ptr(),
                tokens,
                first,
                units,
            )
        };
        assert_eq!(status, 0);
        assert!(out[length..].iter().all(|&byte| byte == 0x5a), "bytes behind the units were written");
        out.truncate(length);
        out
    }

    fn decode(&mut self, codec: Codec, tokens: usize, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        let status = unsafe {
            wire_decode(
                codec as u32,
                bytes.as_mut_ptr(),
                self.kv_type,
                self.bytes.as_mut_ptr(),
                self.page_bytes,
                self.heads,
                self.dim,
                self.pages.as_ptr(),
                tokens,
                0,
                2 * self.heads,
            )
        };
        assert_eq!(status, 0);
    }

    /// (tokens, head_dim) of a unit, through the exact codec.
    fn values(&mut self, unit: usize, tokens: usize) -> Vec<Vec<f32>> {
        let bytes = self.encode(Codec::F32, tokens, unit, 1);
        let rows = naive::decode(Codec::F32, Part::of(unit), self.dim, tokens, &bytes);
        rows.iter().map(|row| row.iter().map(|&value| value as f32).collect()).collect()
    }
}

const TOKENS: [usize; 9] = [1, 5, 16, 17, 31, 32, 33, 64, 100];

fn each_shape(mut check: impl FnMut(&mut Random, u32, usize, usize, usize)) {
    let mut random = Random(seed(31));
    for (heads, dim) in [(1, 8), (3, 64), (2, 40)] {
        set_scratch(scratch_bytes(32, dim, 1) as usize);
        for kv_type in 0..3 {
            for tokens in TOKENS {
                check(&mut random, kv_type, heads, dim, tokens);
            }
        }
    }
}

#[test]
fn codes_mean_the_values_within_half_a_step() {
    each_shape(|random, kv_type, heads, dim, tokens| {
        let mut pool = Pool::filled(random, kv_type, heads, dim, tokens);
        for codec in CODECS {
            for unit in 0..2 * heads {
                let part = Part::of(unit);
                let values = pool.values(unit, tokens);
                let bytes = pool.encode(codec, tokens, unit, 1);
                let got = naive::decode(codec, part, dim, tokens, &bytes);
                for token in 0..tokens {
                    for d in 0..dim {
                        let bound = naive::bound(codec, part, &values, token, d);
                        let error = (got[token][d] - values[token][d] as f64).abs();
                        assert!(
                            error <= bound,
                            "{codec:?} {part:?} of pages {kv_type}, ({heads}, {dim}), {tokens} tokens at {token}, {d}: \
                             {} for {}, {error:e} > {bound:e}",
                            got[token][d],
                            values[token][d],
                        );
                    }
                }
            }
        }
    });
}

#[test]
fn pages_get_what_the_bytes_mean() {
    each_shape(|random, kv_type, heads, dim, tokens| {
        let mut from = Pool::filled(random, 0, heads, dim, tokens);
        for codec in CODECS {
            let bytes = from.encode(codec, tokens, 0, 2 * heads);
            let mut to = Pool::new(kv_type, heads, dim, tokens);
            to.decode(codec, tokens, &bytes);
            let mut at = 0;
            for unit in 0..2 * heads {
                let part = Part::of(unit);
                let length = wire_bytes(codec as u32, unit % 2, dim, tokens) as usize;
                let want = naive::decode(codec, part, dim, tokens, &bytes[at..at + length]);
                at += length;
                let got = to.values(unit, tokens);
                let wanted: Vec<Vec<f32>> = want.iter().map(|row| row.iter().map(|&v| v as f32).collect()).collect();
                for token in 0..tokens {
                    for d in 0..dim {
                        let kind = [Codec::F32, Codec::F16, Codec::I8][kv_type as usize];
                        // One rounding of d * q + m in f32, then what the page rounds.
                        let bound = naive::bound(kind, part, &wanted, token, d) + 3e-7 * want[token][d].abs() + 4e-6;
                        let error = (got[token][d] as f64 - want[token][d]).abs();
                        assert!(
                            error <= bound,
                            "{codec:?} {part:?} into {kv_type} at {token}, {d}: {error:e} > {bound:e}"
                        );
                    }
                }
            }
            assert!(to.bytes[..to.page_bytes].iter().all(|&byte| byte == 0xa5), "a page of nobody's was written");
            for page in to.bytes.chunks(to.page_bytes) {
                assert!(page[to.page_bytes - 64..].iter().all(|&byte| byte == 0xa5), "another layer was written");
            }
        }
    });
}

#[test]
fn pages_of_one_kind_come_back_bit_for_bit() {
    each_shape(|random, kv_type, heads, dim, tokens| {
        let mut from = Pool::filled(random, kv_type, heads, dim, tokens);
        let bytes = from.encode(CODECS[kv_type as usize], tokens, 0, 2 * heads);
        // Pages of other content, so that what is not written shows.
        let mut to = Pool::filled(random, kv_type, heads, dim, tokens.next_multiple_of(16));
        let before = to.bytes.clone();
        to.pages = from.pages.clone();
        to.decode(CODECS[kv_type as usize], tokens, &bytes);
        assert_eq!(to.encode(CODECS[kv_type as usize], tokens, 0, 2 * heads), bytes);
        for unit in 0..2 * heads {
            assert_eq!(to.values(unit, tokens), from.values(unit, tokens));
        }
        // Tokens behind the last keep theirs.
        let all = tokens.next_multiple_of(16);
        let mut old = Pool { bytes: before, pages: to.pages.clone(), ..Pool::new(kv_type, heads, dim, all) };
        for unit in 0..2 * heads {
            assert_eq!(to.values(unit, all)[tokens..], old.values(unit, all)[tokens..]);
        }
    });
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut pool = Pool::filled(&mut Random(5), 0, 2, 8, 16);
    let base = pool.bytes.as_mut_ptr();
    let call = |codec: u32, first: usize, units: usize| unsafe {
        let mut bytes = vec![0u8; 4096];
        wire_encode(codec, bytes.as_mut_ptr(), 0, base, pool.page_bytes, 2, 8, pool.pages.as_ptr(), 16, first, units)
    };
    assert_eq!([call(9, 0, 1), call(0, 3, 2), call(0, 5, 0)], [1, 1, 1]);
    assert_eq!(wire_bytes(9, 0, 8, 16), 0);
}
