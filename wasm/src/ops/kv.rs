//! KV pages: their layout, and writing the keys and values of a pass into them.

/// Tokens in a page.
pub const PAGE: usize = 16;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KvType {
    F32,
    F16,
    I8,
}

/// One layer's part of a page, see lib.rs.
#[derive(Clone, Copy)]
pub struct Layout {
    pub kind: KvType,
    pub kv_heads: usize,
    pub head_dim: usize,
}

impl Layout {
    /// `kv_type`: 0 f32, 1 f16, 2 int8.
    pub fn new(kv_type: u32, kv_heads: usize, head_dim: usize) -> Self {
        let kind = match kv_type {
            0 => KvType::F32,
            1 => KvType::F16,
            _ => KvType::I8,
        };
        Self { kind, kv_heads, head_dim }
    }

    /// Bytes of one head's K, or V, in a page.
    fn head_bytes(&self) -> usize {
        let element = match self.kind {
            KvType::F32 => 4,
            KvType::F16 => 2,
            KvType::I8 => 1,
        };
        PAGE * self.head_dim * element
    }

    pub fn bytes(&self) -> usize {
        let scales = if self.kind == KvType::I8 { 2 * self.kv_heads * PAGE * 4 } else { 0 };
        2 * self.kv_heads * self.head_bytes() + scales
    }

    pub fn k(&self, head: usize) -> usize {
        head * self.head_bytes()
    }

    pub fn v(&self, head: usize) -> usize {
        (self.kv_heads + head) * self.head_bytes()
    }

    pub fn k_scales(&self, head: usize) -> usize {
        2 * self.kv_heads * self.head_bytes() + head * PAGE * 4
    }

    pub fn v_scales(&self, head: usize) -> usize {
        self.k_scales(self.kv_heads + head)
    }
}

/// Rows of `x` hold k at column `k_col` and v at `v_col`, (kv_heads * head_dim) each; row r goes to
/// slot `slots[r]` = page * 16 + offset. A unit is a row. Slots of a pass differ, so units write disjoint memory.
pub struct WriteArgs {
    pub layout: Layout,
    pub layer_base: *mut u8,
    pub page_bytes: usize,
    pub x: *const f32,
    pub x_stride: usize,
    pub k_col: usize,
    pub v_col: usize,
    pub slots: *const u32,
}

/// # Safety
/// Rows `lo..hi` of `x` and `slots` are readable, and each slot's page is writable.
pub unsafe fn write(args: &WriteArgs, lo: usize, hi: usize, _: *mut u8) {
    let Layout { kind, kv_heads, head_dim } = args.layout;
    for row in lo..hi {
        // SAFETY: the caller vouches for rows and pages; offsets stay within one layer's part of a page.
        unsafe {
            let slot = *args.slots.add(row) as usize;
            let page = args.layer_base.add(slot / PAGE * args.page_bytes);
            let token = slot % PAGE;
            let x = args.x.add(row * args.x_stride);
            for head in 0..kv_heads {
                let k = core::slice::from_raw_parts(x.add(args.k_col + head * head_dim), head_dim);
                let v = core::slice::from_raw_parts(x.add(args.v_col + head * head_dim), head_dim);
                let k_page = page.add(args.layout.k(head));
                let v_page = page.add(args.layout.v(head));
                match kind {
                    KvType::F32 => {
                        put(k_page.cast::<f32>().add(token), PAGE, k, |value| value);
                        put(v_page.cast::<f32>().add(token * head_dim), 1, v, |value| value);
                    }
                    KvType::F16 => {
                        put(k_page.cast::<u16>().add(token), PAGE, k, to_f16);
                        put(v_page.cast::<u16>().add(token * head_dim), 1, v, to_f16);
                    }
                    KvType::I8 => {
                        let (scale, inverse) = scale_of(k);
                        *page.add(args.layout.k_scales(head)).cast::<f32>().add(token) = scale;
                        put(k_page.cast::<i8>().add(token), PAGE, k, |value| to_i8(value * inverse));
                        let (scale, inverse) = scale_of(v);
                        *page.add(args.layout.v_scales(head)).cast::<f32>().add(token) = scale;
                        put(v_page.cast::<i8>().add(token * head_dim), 1, v, |value| to_i8(value * inverse));
                    }
                }
            }
        }
    }
}

/// Writes `values` from `to` on, `step` elements apart.
#[inline(always)]
unsafe fn put<T>(to: *mut T, step: usize, values: &[f32], convert: impl Fn(f32) -> T) {
    for (i, &value) in values.iter().enumerate() {
        // SAFETY: the caller's page has room for the whole head.
        unsafe { *to.add(i * step) = convert(value) };
    }
}

/// The int8 scale of a head, absmax / 127, and its inverse; NaN and infinities don't count. 0 and 0 for zeros.
#[inline(always)]
fn scale_of(values: &[f32]) -> (f32, f32) {
    let mut max = 0f32;
    for &value in values {
        let size = value.abs();
        max = if size > max && size < f32::INFINITY { size } else { max };
    }
    // Below this the inverse would be infinite; such a head is as good as zero.
    if max < 1e-36 { (0.0, 0.0) } else { (max / 127.0, 127.0 / max) }
}

/// The nearest integer of -127..127, ties to even; NaN gives 0.
#[inline(always)]
fn to_i8(value: f32) -> i8 {
    /// Adding this leaves a float no room for a fraction.
    const ROUND: f32 = 12_582_912.0;
    let value = if value > 127.0 { 127.0 } else if value < -127.0 { -127.0 } else { value };
    ((value + ROUND) - ROUND) as i8
}

/// The nearest f16, ties to even; what is too large becomes infinite, NaN stays NaN.
#[inline(always)]
pub fn to_f16(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16 & 0x8000) as u16;
    let size = bits & 0x7fff_ffff;
    if size > 0x7f80_0000 {
        return sign | 0x7e00;
    }
    if size >= 0x4780_0000 {
        return sign | 0x7c00;
    }
    if size < 0x3880_0000 {
        // Subnormal: adding 0.5 puts the f16 fraction into the lowest bits, rounded by the addition itself.
        let shifted = f32::from_bits(size) + 0.5;
        return sign | (shifted.to_bits() - 0.5f32.to_bits()) as u16;
    }
    let odd = size >> 13 & 1;
    sign | ((size - 0x3800_0000 + 0xfff + odd) >> 13) as u16
}
