//! Kernels on arbitrary bytes: whatever the lengths and values, no write outside the buffers, no panic. The fuzz targets
//! and `tests/hostile.rs` share these.
use foretoken_core::ops::repack::row_bytes;
use foretoken_core::{
    attention, convolve, kv_layer_bytes, pool_set_scratch, repack, scratch_bytes, weight_bytes, weight_kind, write_kv,
};

/// Numbers out of a byte string; zeros after its end.
struct Source<'a>(&'a [u8]);

impl Source<'_> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    fn below(&mut self, n: usize) -> usize {
        self.byte() as usize % n
    }

    fn float(&mut self) -> f32 {
        f32::from_le_bytes([self.byte(), self.byte(), self.byte(), self.byte()])
    }
}

const GUARD: u8 = 0xa5;
const MARGIN: usize = 64;

/// Bytes between margins that nobody may write.
struct Guarded {
    bytes: Vec<u8>,
    start: usize,
    length: usize,
}

impl Guarded {
    fn new(length: usize) -> Self {
        let mut bytes = vec![GUARD; length + 3 * MARGIN];
        let start = MARGIN + bytes.as_ptr().align_offset(MARGIN);
        bytes[start..start + length].fill(0);
        Self { bytes, start, length }
    }

    fn at<T>(&mut self) -> *mut T {
        self.bytes[self.start..].as_mut_ptr().cast()
    }

    fn check(&self, what: &str) {
        let outside = self.bytes[..self.start].iter().chain(&self.bytes[self.start + self.length..]);
        assert!(outside.copied().all(|byte| byte == GUARD), "{what} was overrun");
    }
}

/// Attention and a convolution over up to four segments of arbitrary lengths, pasts and values.
pub fn fuzz_attention(data: &[u8]) {
    let mut source = Source(data);
    let (kv_heads, group, head_dim) = (1 + source.below(3), 1 + source.below(5), 8 * (1 + source.below(6)));
    let (kv_type, heads) = (source.below(3) as u32, kv_heads * group);
    let columns = (heads + 2 * kv_heads) * head_dim;
    let (mut segments, mut table, mut slots, mut tokens) = (vec![], vec![], vec![], 0);
    for _ in 0..1 + source.below(4) {
        let (length, past) = (source.below(70), source.below(150));
        segments.push([tokens as u32, length as u32, past as u32, table.len() as u32]);
        let first = table.len();
        table.extend((first..first + (past + length).div_ceil(16)).map(|page| page as u32));
        slots.extend((past..past + length).map(|position| ((first + position / 16) * 16 + position % 16) as u32));
        tokens += length;
    }
    let window = source.below(3) * source.below(150);
    let layer = kv_layer_bytes(kv_type, kv_heads, head_dim) as usize;
    let scratch_length = scratch_bytes(32, head_dim, group) as usize;
    let mut x: Vec<f32> = (0..tokens * columns).map(|i| if i % 5 == 0 { source.float() } else { i as f32 }).collect();
    let mut pool = Guarded::new(table.len() * layer);
    let mut scratch = Guarded::new(scratch_length);
    let mut out = Guarded::new(tokens * heads * head_dim * 4);
    let (k, v) = (heads * head_dim, (heads + kv_heads) * head_dim);
    let (channels, taps) = (2 * kv_heads * head_dim, 1 + source.below(5));
    let weights: Vec<f32> = (0..taps * channels).map(|_| source.float()).collect();
    let mut gates = Guarded::new(tokens * channels * 4);
    // SAFETY: every buffer has the length that its kernel documents.
    unsafe {
        let pages: *mut u8 = pool.at();
        pool_set_scratch(scratch.at(), scratch_length);
        let status =
            write_kv(kv_type, pages, layer, x.as_mut_ptr(), columns, k, v, kv_heads, head_dim, slots.as_ptr(), tokens);
        assert_eq!(status, 0);
        let status = attention(
            out.at(),
            heads * head_dim,
            x.as_ptr(),
            columns,
            0,
            heads,
            kv_heads,
            head_dim,
            kv_type,
            pages,
            layer,
            segments.as_ptr(),
            segments.len(),
            table.as_ptr(),
            0.125,
            window,
            [0, 1, 40, usize::MAX][window % 4],
            if window % 2 == 1 { 5.0 } else { 0.0 },
            tokens as u32 % 2,
        );
        assert_eq!(status, 0);
        let status = convolve(
            gates.at(),
            channels,
            weights.as_ptr(),
            taps,
            kv_heads,
            head_dim,
            kv_type,
            pages,
            layer,
            segments.as_ptr(),
            segments.len(),
            table.as_ptr(),
            tokens,
        );
        assert_eq!(status, 0);
    }
    gates.check("the products");
    pool.check("the pool");
    scratch.check("scratch");
    out.check("out");
}

/// A weight of an arbitrary type, fitting or not, laid out in arbitrary pieces.
pub fn fuzz_repack(data: &[u8]) {
    let mut source = Source(data);
    let kind = source.below(21) as u32;
    let n = source.below(40);
    let k = if source.below(8) == 0 { source.below(256) } else { 256 * (1 + source.below(3)) };
    let weight = weight_kind(kind);
    if weight == u32::MAX {
        // SAFETY: refused before any access.
        assert_eq!(unsafe { repack(kind, std::ptr::null_mut(), std::ptr::null(), 0, n, n, k) }, 2);
        return;
    }
    let mut to = Guarded::new(weight_bytes(weight, n, k) as usize);
    let bytes = row_bytes(kind, k);
    let mut first = 0;
    while first < n {
        let rows = if source.below(4) == 0 { 1 + source.below(9) } else { 8 * (1 + source.below(3)) }.min(n - first);
        let mut from = Guarded::new(rows * bytes);
        let at: *mut u8 = from.at();
        for i in 0..rows * bytes {
            // SAFETY: within the buffer.
            unsafe { *at.add(i) = source.byte() };
        }
        // SAFETY: `from` holds `rows` rows, `to` the weight.
        let status = unsafe { repack(kind, to.at(), at, first, rows, n, k) };
        to.check("the weight");
        from.check("the source");
        if status != 0 {
            return;
        }
        first += rows;
    }
}
