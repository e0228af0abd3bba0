//! Attention in integers, against its definition.
mod common;
use common::world::{Shape, WINDOWS, World, integer_shapes};
use common::{Random, seed, set_scratch};
use foretoken_core::scratch_bytes;

#[test]
fn integers_equal_their_definition_in_packed_ragged_passes() {
    let seed = seed(19);
    let mut random = Random(seed);
    for shape in integer_shapes() {
        set_scratch(scratch_bytes(64, shape.head_dim, shape.heads / shape.kv_heads) as usize);
        let lengths = [1, 7, 16, 33, 64, 127, 129, 1 + random.below(280)];
        let mut world = World::new(&mut random, shape, &lengths);
        world.form = 1;
        // A head of zeros, and ones of very different sizes.
        world.sequences[3][5].fill(0.0);
        world.sequences[5].iter_mut().step_by(3).for_each(|row| row.iter_mut().for_each(|x| *x *= 30.0));
        let parts: Vec<_> = lengths.iter().enumerate().map(|(i, &n)| (i, 0, n)).collect();
        // A layer's scale need not be that of its head's size.
        for (window, scale) in WINDOWS.into_iter().zip([world.scale, 0.05].into_iter().cycle()) {
            (world.window, world.scale) = (window, scale);
            let out = world.pass(&parts);
            world.check_integers(&parts, &out, &format!("seed {seed}, {shape:?}, window {window}, scale {scale}"));
        }
        for (window, ahead, cap) in [(0, 0, 2.0), (0, usize::MAX, 0.0), (100, 99, 30.0), (0, 3, 0.0)] {
            (world.window, world.ahead, world.cap) = (window, ahead, cap);
            let out = world.pass(&parts);
            let context = format!("seed {seed}, {shape:?}, window {window}, ahead {ahead}, cap {cap}");
            world.check_integers(&parts, &out, &context);
        }
    }
}

#[test]
fn what_integers_cannot_do_is_done_in_floats() {
    for (head_dim, kv_type, form) in [(40, 2, 1), (64, 0, 1), (64, 1, 1), (64, 2, 9)] {
        let shape = Shape { heads: 4, kv_heads: 2, head_dim, kv_type };
        set_scratch(scratch_bytes(64, head_dim, 2) as usize);
        let mut world = World::new(&mut Random(seed(20)), shape, &[50]);
        let floats = world.pass(&[(0, 0, 50)]);
        world.form = form;
        assert_eq!(world.pass(&[(0, 0, 50)]), floats, "{shape:?}, form {form}");
    }
}

#[test]
fn integers_read_nothing_behind_the_last_token() {
    let shape = Shape { heads: 3, kv_heads: 1, head_dim: 32, kv_type: 2 };
    set_scratch(scratch_bytes(64, 32, 3) as usize);
    let mut world = World::new(&mut Random(seed(21)), shape, &[37]);
    world.form = 1;
    let clean = world.pass(&[(0, 0, 37)]);
    // Pages may hold anything where nothing was written, scales of NaN among it.
    world.pool.fill(0xff);
    assert_eq!(world.pass(&[(0, 0, 37)]), clean);
}
