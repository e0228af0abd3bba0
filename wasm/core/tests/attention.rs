//! Writing KV pages and attention over them, against the definition.
mod common;
use common::world::{Shape, WINDOWS, World, forms, shapes};
use common::{Random, near, seed, set_scratch};
use foretoken_core::naive::small;
use foretoken_core::scratch_bytes;
use foretoken_core::simd::floats::{Floats, Native};

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
        let lengths = [1, 17, 129, 1 + random.below(200)];
        let mut world = World::new(&mut random, shape, &lengths);
        let parts: Vec<_> = lengths.iter().enumerate().map(|(i, &n)| (i, 0, n)).collect();
        for (window, ahead) in [(0, usize::MAX), (5, 4), (100, 99), (0, 3)] {
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
    let cases = forms().into_iter().flat_map(|(shape, form)| [0, 1, 37, 130].map(|window| (shape, form, window)));
    for (shape, form, window) in cases {
        set_scratch(scratch_bytes(64, shape.head_dim, shape.heads / shape.kv_heads) as usize);
        let lengths = [290, 40, 141];
        let mut world = World::new(&mut random, shape, &lengths);
        (world.window, world.cap) = (window, if window == 37 { 3.0 } else { 0.0 });
        world.form = form;
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
            assert!(same, "seed {seed}, {shape:?}, form {form}, window {window}: position {position} differs");
        }
        assert_eq!(chunked.len(), 290);
    }
}

#[test]
fn a_window_as_long_as_the_sequence_changes_no_bit() {
    let mut random = Random(seed(15));
    for (shape, form) in forms() {
        set_scratch(scratch_bytes(64, shape.head_dim, shape.heads / shape.kv_heads) as usize);
        let mut world = World::new(&mut random, shape, &[290]);
        world.form = form;
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
