//! Writing KV pages and attention over them, against the definition.
mod common;
use common::{EPS, Random, near, seed, set_scratch};
use foretoken_core::naive::{attention as naive, small};
use foretoken_core::simd::floats::{Floats, Native};
use foretoken_core::{attention, kv_layer_bytes, scratch_bytes, write_kv};

const PAGE: usize = 16;

#[derive(Clone, Copy, Debug)]
struct Shape {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    kv_type: u32,
}

/// A sequence's x rows (q heads, then k, then v), in order of position.
struct World {
    shape: Shape,
    page_bytes: usize,
    layer_bytes: usize,
    pool: Vec<u8>,
    sequences: Vec<Vec<Vec<f32>>>,
    /// Pages of each sequence, scattered.
    tables: Vec<Vec<u32>>,
    /// Positions that a query sees, its own included; 0 for all.
    window: usize,
    /// Positions behind its own that a query sees, as far as the segment goes.
    ahead: usize,
    /// The soft cap of scores; 0 for none.
    cap: f32,
}

/// Two layers, of which the second is used, so that offsets matter.
const LAYERS: usize = 2;

impl World {
    fn new(random: &mut Random, shape: Shape, lengths: &[usize]) -> Self {
        let Shape { heads, kv_heads, head_dim, kv_type } = shape;
        let layer_bytes = kv_layer_bytes(kv_type, kv_heads, head_dim) as usize;
        let columns = (heads + 2 * kv_heads) * head_dim;
        let sequences: Vec<Vec<_>> =
            lengths.iter().map(|&n| (0..n).map(|_| random.floats(columns, 2.0)).collect()).collect();
        let counts: Vec<usize> = lengths.iter().map(|n| n.div_ceil(PAGE)).collect();
        let total: usize = counts.iter().sum();
        let mut free: Vec<u32> = (0..total as u32).collect();
        let tables = counts
            .iter()
            .map(|&count| (0..count).map(|_| free.swap_remove(random.below(free.len()))).collect())
            .collect();
        let page_bytes = LAYERS * layer_bytes;
        World {
            shape,
            page_bytes,
            layer_bytes,
            pool: vec![0; total * page_bytes],
            sequences,
            tables,
            window: 0,
            ahead: 0,
            cap: 0.0,
        }
    }

    /// Runs one pass over (sequence, past, length) parts; returns out rows in pass order.
    fn pass(&mut self, parts: &[(usize, usize, usize)]) -> Vec<Vec<f32>> {
        let Shape { heads, kv_heads, head_dim, kv_type } = self.shape;
        let columns = (heads + 2 * kv_heads) * head_dim;
        let stride = columns + 3;
        let (mut x, mut slots, mut segments, mut table) = (vec![], vec![], vec![], vec![]);
        let mut start = 0;
        for &(sequence, past, length) in parts {
            for position in past..past + length {
                x.extend_from_slice(&self.sequences[sequence][position]);
                x.extend([f32::NAN; 3]);
                slots.push(self.tables[sequence][position / PAGE] * PAGE as u32 + (position % PAGE) as u32);
            }
            segments.push([start as u32, length as u32, past as u32, table.len() as u32]);
            table.extend_from_slice(&self.tables[sequence]);
            start += length;
        }
        let out_stride = heads * head_dim + 5;
        let mut out = vec![f32::NAN; start * out_stride];
        let scale = 1.0 / (head_dim as f32).sqrt();
        let (k_col, v_col) = (heads * head_dim, (heads + kv_heads) * head_dim);
        let layer = self.pool[self.layer_bytes..].as_mut_ptr();
        // SAFETY: shapes as built above.
        unsafe {
            let status = write_kv(
                kv_type,
                layer,
                self.page_bytes,
                x.as_ptr(),
                stride,
                k_col,
                v_col,
                kv_heads,
                head_dim,
                slots.as_ptr(),
                start,
            );
            assert_eq!(status, 0);
            let status = attention(
                out.as_mut_ptr(),
                out_stride,
                x.as_ptr(),
                stride,
                0,
                heads,
                kv_heads,
                head_dim,
                kv_type,
                layer,
                self.page_bytes,
                segments.as_ptr(),
                segments.len(),
                table.as_ptr(),
                scale,
                self.window,
                self.ahead,
                self.cap,
            );
            assert_eq!(status, 0);
        }
        out.chunks(out_stride).map(|row| row[..heads * head_dim].to_vec()).collect()
    }

    /// K and V (head_dim) of a position as they lie in the pages.
    fn stored(&self, sequence: usize, position: usize, head: usize) -> (Vec<f32>, Vec<f32>) {
        let Shape { kv_heads, head_dim, kv_type, .. } = self.shape;
        let page = self.tables[sequence][position / PAGE] as usize * self.page_bytes + self.layer_bytes;
        let token = position % PAGE;
        let per_head = PAGE * head_dim;
        let scales = page + 2 * kv_heads * per_head;
        let float = |at: usize| f32::from_le_bytes(self.pool[at..at + 4].try_into().unwrap());
        let read = |element: usize, scale: usize| match kv_type {
            0 => float(page + element * 4),
            1 => {
                let at = page + element * 2;
                small::from_f16(u16::from_le_bytes(self.pool[at..at + 2].try_into().unwrap())) as f32
            }
            _ => self.pool[page + element] as i8 as f32 * float(scales + scale * 4),
        };
        let k = (0..head_dim).map(|d| read(head * per_head + d * PAGE + token, head * PAGE + token));
        let v = (0..head_dim)
            .map(|d| read((kv_heads + head) * per_head + token * head_dim + d, (kv_heads + head) * PAGE + token));
        (k.collect(), v.collect())
    }

    fn check(&self, parts: &[(usize, usize, usize)], out: &[Vec<f32>], context: &str) {
        let Shape { heads, kv_heads, head_dim, .. } = self.shape;
        let scale = 1.0 / (head_dim as f32).sqrt();
        let mut row = 0;
        for &(sequence, past, length) in parts {
            let stored: Vec<Vec<_>> =
                (0..kv_heads).map(|h| (0..past + length).map(|p| self.stored(sequence, p, h)).collect()).collect();
            for position in past..past + length {
                for head in 0..heads {
                    let first = if self.window == 0 { 0 } else { (position + 1).saturating_sub(self.window) };
                    let seen = &stored[head / (heads / kv_heads)]
                        [first..=position.saturating_add(self.ahead).min(past + length - 1)];
                    let keys: Vec<_> = seen.iter().map(|(k, _)| k.clone()).collect();
                    let values: Vec<_> = seen.iter().map(|(_, v)| v.clone()).collect();
                    let q = &self.sequences[sequence][position][head * head_dim..(head + 1) * head_dim];
                    let (want, magnitude) = naive::row(q, &keys, &values, scale, self.cap);
                    // A score's rounding shifts its weight by as much, relatively; two exps per block, sums of n terms.
                    let score = naive::score_magnitude(q, &keys, scale) * (head_dim as f64 + 4.0) * EPS;
                    let blocks = ((first + keys.len()) / 128 + 1) as f64;
                    // The cap shrinks errors of scores and adds its own.
                    let score = score + 4e-7 * self.cap as f64;
                    let relative = 2.0 * score + (keys.len() as f64 + 20.0) * 2.0 * EPS + (blocks + 2.0) * 4e-7;
                    for d in 0..head_dim {
                        near(out[row][head * head_dim + d], want[d], relative * magnitude[d] + 1e-30, || {
                            format!("{context}: sequence {sequence}, position {position}, head {head}, dimension {d}")
                        });
                    }
                }
                row += 1;
            }
        }
    }
}

fn shapes() -> Vec<Shape> {
    let mut shapes = vec![];
    for (heads, kv_heads, head_dim) in [(1, 1, 8), (9, 3, 64), (4, 4, 16), (8, 1, 40), (14, 2, 64), (4, 2, 128)] {
        shapes.extend((0..3).map(|kv_type| Shape { heads, kv_heads, head_dim, kv_type }));
    }
    shapes
}

/// No window; windows of one key, within a block, of a block and more.
const WINDOWS: [usize; 7] = [0, 1, 5, 100, 128, 150, 1000];

#[test]
fn equals_the_definition_in_packed_ragged_passes() {
    let seed = seed(11);
    let mut random = Random(seed);
    let mut cases = 0;
    for shape in shapes() {
        set_scratch(scratch_bytes(64, shape.head_dim, shape.heads / shape.kv_heads) as usize);
        let lengths = [1, 15, 16, 17, 63, 64, 127, 128, 129, 1 + random.below(300)];
        let mut world = World::new(&mut random, shape, &lengths);
        let parts: Vec<_> = lengths.iter().enumerate().map(|(i, &n)| (i, 0, n)).collect();
        for window in WINDOWS {
            world.window = window;
            let out = world.pass(&parts);
            world.check(&parts, &out, &format!("seed {seed}, {shape:?}, window {window}"));
            cases += 1;
        }
    }
    assert_eq!(cases, 18 * WINDOWS.len());
}

#[test]
fn attention_both_ways_equals_the_definition_and_does_not_depend_on_company() {
    let seed = seed(18);
    let mut random = Random(seed);
    for shape in shapes() {
        set_scratch(scratch_bytes(64, shape.head_dim, shape.heads / shape.kv_heads) as usize);
        let lengths = [1, 15, 17, 127, 128, 129, 1 + random.below(300)];
        let mut world = World::new(&mut random, shape, &lengths);
        let parts: Vec<_> = lengths.iter().enumerate().map(|(i, &n)| (i, 0, n)).collect();
        for (window, ahead) in [(0, usize::MAX), (1, 0), (5, 4), (100, 99), (150, 149), (0, 3)] {
            (world.window, world.ahead) = (window, ahead);
            let out = world.pass(&parts);
            world.check(&parts, &out, &format!("seed {seed}, {shape:?}, window {window}, ahead {ahead}"));
            let alone: Vec<_> = parts.iter().flat_map(|part| world.pass(&[*part])).collect();
            let bits = |rows: &[Vec<f32>]| -> Vec<u32> { rows.iter().flatten().map(|x| x.to_bits()).collect() };
            assert!(bits(&out) == bits(&alone), "seed {seed}, {shape:?}, window {window}, ahead {ahead}: bits differ");
        }
    }
}

#[test]
fn soft_caps_equal_the_definition() {
    let seed = seed(17);
    let mut random = Random(seed);
    for shape in shapes() {
        set_scratch(scratch_bytes(64, shape.head_dim, shape.heads / shape.kv_heads) as usize);
        let lengths = [1, 17, 130, 1 + random.below(300)];
        let mut world = World::new(&mut random, shape, &lengths);
        let parts: Vec<_> = lengths.iter().enumerate().map(|(i, &n)| (i, 0, n)).collect();
        for (cap, window) in [(0.5, 0), (2.0, 37), (50.0, 0)] {
            (world.cap, world.window) = (cap, window);
            let out = world.pass(&parts);
            world.check(&parts, &out, &format!("seed {seed}, {shape:?}, cap {cap}, window {window}"));
        }
    }
}

#[test]
fn a_row_has_the_same_bits_however_its_pass_is_cut_and_shared() {
    let seed = seed(12);
    let mut random = Random(seed);
    for (shape, window) in shapes().into_iter().flat_map(|shape| [0, 1, 37, 130].map(|window| (shape, window))) {
        set_scratch(scratch_bytes(64, shape.head_dim, shape.heads / shape.kv_heads) as usize);
        let lengths = [290, 40, 141];
        let mut world = World::new(&mut random, shape, &lengths);
        (world.window, world.cap) = (window, if window == 37 { 3.0 } else { 0.0 });
        let whole = world.pass(&[(0, 0, 290)]);
        // The same sequence in ragged chunks, each packed with parts of others.
        let mut past = [0; 3];
        let mut chunked = vec![];
        while past[0] < 290 {
            let mut parts = vec![];
            for sequence in [1, 0, 2] {
                let length = (1 + random.below(41)).min(lengths[sequence] - past[sequence]);
                if length > 0 {
                    parts.push((sequence, past[sequence], length));
                }
            }
            let out = world.pass(&parts);
            let mut row = 0;
            for (sequence, start, length) in parts {
                if sequence == 0 {
                    chunked.extend_from_slice(&out[row..row + length]);
                }
                row += length;
                past[sequence] = start + length;
            }
        }
        for (position, (a, b)) in whole.iter().zip(&chunked).enumerate() {
            let same = a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(same, "seed {seed}, {shape:?}, window {window}: position {position} differs");
        }
        assert_eq!(chunked.len(), 290);
    }
}

#[test]
fn a_window_as_long_as_the_sequence_changes_no_bit() {
    let mut random = Random(seed(15));
    for shape in shapes() {
        set_scratch(scratch_bytes(64, shape.head_dim, shape.heads / shape.kv_heads) as usize);
        let mut world = World::new(&mut random, shape, &[290]);
        let whole = world.pass(&[(0, 0, 290)]);
        world.window = 290;
        assert_eq!(world.pass(&[(0, 0, 290)]), whole);
    }
}

#[test]
fn what_lies_before_a_window_is_not_read_into_a_row() {
    for kv_type in 0..3 {
        let shape = Shape { heads: 3, kv_heads: 1, head_dim: 8, kv_type };
        set_scratch(scratch_bytes(64, 8, 3) as usize);
        let mut world = World::new(&mut Random(16), shape, &[300]);
        world.window = 140;
        world.sequences[0][3].fill(f32::NAN);
        let out = world.pass(&[(0, 0, 300)]);
        for (position, row) in out.iter().enumerate() {
            let sees = (3..3 + 140).contains(&position);
            let want = position == 3 || (sees && kv_type == 0);
            assert_eq!(row.iter().any(|value| value.is_nan()), want, "type {kv_type}, {position}");
        }
    }
}

#[test]
fn pages_hold_the_nearest_values() {
    let seed = seed(13);
    let mut random = Random(seed);
    for kv_type in 0..3 {
        let shape = Shape { heads: 3, kv_heads: 3, head_dim: 24, kv_type };
        set_scratch(scratch_bytes(64, 24, 1) as usize);
        let mut world = World::new(&mut random, shape, &[37]);
        world.sequences[0][5].fill(0.0);
        world.sequences[0][6][..].iter_mut().for_each(|x| *x *= 1e-4);
        world.pass(&[(0, 0, 37)]);
        for position in 0..37 {
            for head in 0..3 {
                let (k, v) = world.stored(0, position, head);
                for (stored, from) in [(k, 72), (v, 144)] {
                    let row = &world.sequences[0][position][from + head * 24..][..24];
                    let largest = row.iter().fold(0f32, |m, x| m.max(x.abs()));
                    for (got, &want) in stored.iter().zip(row) {
                        let context = || format!("seed {seed}, type {kv_type}, position {position}");
                        match kv_type {
                            0 => assert_eq!(got.to_bits(), want.to_bits(), "{}", context()),
                            1 => assert_eq!(*got as f64, small::from_f16(small::to_f16(want)), "{}", context()),
                            _ => near(*got, want as f64, largest as f64 / 254.0 * (1.0 + 1e-5), context),
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn f16_conversion_is_exact_on_edges() {
    let mut values = vec![0.0, -0.0, 65504.0, 65503.9, 2f32.powi(-25), 2f32.powi(-24), 6.0e-8, 6.1e-5, 1e-30];
    for bits in (0..0x7bffu16).step_by(7) {
        let below = small::from_f16(bits) as f32;
        let middle = (below + small::from_f16(bits + 1) as f32) / 2.0;
        values.extend([below, middle, f32::from_bits(middle.to_bits() + 1), f32::from_bits(middle.to_bits() - 1)]);
    }
    let check = |value: f32, want: u16| {
        let mut got = [0u16; 8];
        // SAFETY: 8 halves fit.
        unsafe { Native::store_f16(got.as_mut_ptr(), Native::splat(value), Native::splat(-value)) };
        assert_eq!([got[3], got[4]], [want, if value.is_nan() { 0 } else { want ^ 0x8000 }], "{value:e}");
        // SAFETY: as above.
        let (back, _) = unsafe { Native::load_f16(got.as_ptr()) };
        assert_eq!(back[0] as f64, small::from_f16(want));
    };
    for value in values {
        check(value, small::to_f16(value));
    }
    for large in [65504.1, 65520.0, 1e9, f32::INFINITY] {
        check(large, 0x7bff);
    }
    check(f32::NAN, 0);
}

#[test]
fn numbers_that_are_no_numbers_stay_in_their_rows() {
    for kv_type in 0..3 {
        let shape = Shape { heads: 3, kv_heads: 1, head_dim: 8, kv_type };
        set_scratch(scratch_bytes(64, 8, 3) as usize);
        let mut world = World::new(&mut Random(14), shape, &[70, 20]);
        world.sequences[1][3].fill(f32::NAN);
        world.sequences[1][4].fill(f32::INFINITY);
        let out = world.pass(&[(0, 0, 70), (1, 0, 20)]);
        world.check(&[(0, 0, 70)], &out[..70], "beside NaN");
        let early = world.pass(&[(1, 0, 3)]);
        assert_eq!(early, out[70..73], "tokens before a NaN");
    }
}
