//! The dot probe against engines as they are known, and one that is wrong.
use foretoken_core::probe::{EXACT, SIGNED_SECOND, UNSIGNED_SECOND, classify};

fn dot(a: [i8; 16], b: [i32; 16], sums: [i32; 4], pair: impl Fn(i32) -> i32, scale: i32) -> [i32; 4] {
    core::array::from_fn(|group| {
        let product = |i: usize| a[4 * group + i] as i32 * b[4 * group + i];
        sums[group] + scale * (pair(product(0) + product(1)) + pair(product(2) + product(3)))
    })
}

#[test]
fn knows_the_lowerings_and_refuses_wrong_sums() {
    assert_eq!(classify(|a, b, s| dot(a, b.map(|b| b as i32), s, |sum| sum, 1)), EXACT | UNSIGNED_SECOND);
    assert_eq!(classify(|a, b, s| dot(a, b.map(|b| b as i8 as i32), s, |sum| sum, 1)), EXACT | SIGNED_SECOND);
    // x86 without VNNI: pairs saturate to 16 bits, which second operands up to 127 never reach.
    assert_eq!(classify(|a, b, s| dot(a, b.map(|b| b as i32), s, |sum| sum.clamp(-32768, 32767), 1)), EXACT);
    // Node 20.
    assert_eq!(classify(|a, b, s| dot(a, b.map(|b| b as i32), s, |sum| sum, 2)), 0);
    // Operands exchanged.
    assert_eq!(classify(|a, b, s| dot(b.map(|b| b as i8), a.map(|a| a as u8 as i32), s, |sum| sum, 1)), 0);
    assert_eq!(classify(|_, _, s| s), 0);
}
