//! Lays out KV pages, and writes the keys and values of a pass into them.

use crate::simd::floats::Floats;

/// Number of tokens in a page.
pub const PAGE: usize = 16;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KvType {
    F32,
    F16,
    I8,
}

/// Shape of one layer's part of a page, see lib.rs.
#[derive(Clone, Copy)]
pub struct Layout {
    pub kind: KvType,
    pub kv_heads: usize,
    pub head_dim: usize,
}

impl Layout {
    /// Creates it for a `kv_type`: 0 f32, 1 f16, 2 int8.
    pub fn new(kv_type: u32, kv_heads: usize, head_dim: usize) -> Self {
        let kind = match kv_type {
            0 => KvType::F32,
            1 => KvType::F16,
            _ => KvType::I8,
        };
        Self { kind, kv_heads, head_dim }
    }

    /// Returns the bytes of one head's K, or V, in a page.
    fn head_bytes(&self) -> usize {
        let element = match self.kind {
            KvType::F32 => 4,
            KvType::F16 => 2,
            KvType::I8 => 1,
        };
        PAGE * self.head_dim * element
    }

    /// Returns the bytes of the layer in a page. Counts in 64 bits, because a config may specify any shape.
    pub fn bytes(&self) -> u64 {
        let [heads, dim] = [self.kv_heads as u64, self.head_dim as u64];
        let head = match self.kind {
            KvType::F32 => dim.saturating_mul(4),
            KvType::F16 => dim.saturating_mul(2),
            KvType::I8 => dim.saturating_add(4),
        };
        heads.saturating_mul(head).saturating_mul(2 * PAGE as u64)
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
/// Rows `lo..hi` of `x` and `slots` must be readable, and each slot's page writable.
pub unsafe fn write<I: Floats>(args: &WriteArgs, lo: usize, hi: usize, _: *mut u8) {
    let Layout { kind, kv_heads, head_dim } = args.layout;
    for row in lo..hi {
        // SAFETY: the caller guarantees rows and pages; offsets stay within one layer's part of a page.
        unsafe {
            let slot = *args.slots.add(row) as usize;
            let page = args.layer_base.wrapping_add(slot / PAGE * args.page_bytes);
            let token = slot % PAGE;
            let x = args.x.add(row * args.x_stride);
            for head in 0..kv_heads {
                let k = x.add(args.k_col + head * head_dim);
                let v = x.add(args.v_col + head * head_dim);
                let k_to = page.add(args.layout.k(head));
                let v_to = page.add(args.layout.v(head));
                match kind {
                    KvType::F32 => {
                        scatter(k_to.cast::<f32>().add(token), k, head_dim);
                        v_to.cast::<f32>().add(token * head_dim).copy_from_nonoverlapping(v, head_dim);
                    }
                    KvType::F16 => {
                        for d in (0..head_dim).step_by(8) {
                            let mut eight = [0u16; 8];
                            I::store_f16(eight.as_mut_ptr(), I::load(k.add(d)), I::load(k.add(d + 4)));
                            scatter(k_to.cast::<u16>().add(d * PAGE + token), eight.as_ptr(), 8);
                            let v_to = v_to.cast::<u16>().add(token * head_dim + d);
                            I::store_f16(v_to, I::load(v.add(d)), I::load(v.add(d + 4)));
                        }
                    }
                    KvType::I8 => {
                        let (k_scale, k_inverse) = scale_of(largest::<I>(k, head_dim), 127.0);
                        let (v_scale, v_inverse) = scale_of(largest::<I>(v, head_dim), 127.0);
                        *page.add(args.layout.k_scales(head)).cast::<f32>().add(token) = k_scale;
                        *page.add(args.layout.v_scales(head)).cast::<f32>().add(token) = v_scale;
                        let (k_inverse, v_inverse) = (I::splat(k_inverse), I::splat(v_inverse));
                        for d in (0..head_dim).step_by(8) {
                            let scaled = |x: *const f32, inverse| I::mul(I::load(x.add(d)), inverse);
                            let mut eight = [0i8; 8];
                            I::store_i8(eight.as_mut_ptr(), scaled(k, k_inverse), scaled(k.add(4), k_inverse));
                            scatter(k_to.cast::<i8>().add(d * PAGE + token), eight.as_ptr(), 8);
                            let v_to = v_to.cast::<i8>().add(token * head_dim + d);
                            I::store_i8(v_to, scaled(v, v_inverse), scaled(v.add(4), v_inverse));
                        }
                    }
                }
            }
        }
    }
}

/// Reads K, or V, of a head of the token at `token` of a page, as floats.
///
/// # Safety
/// `page` must be the layer's part of a page, and `to` have room for a head.
#[inline(always)]
pub unsafe fn read<I: Floats>(layout: &Layout, page: *const u8, token: usize, head: usize, of_v: bool, to: *mut f32) {
    let dim = layout.head_dim;
    let (from, first, step) = if of_v { (layout.v(head), token * dim, 1) } else { (layout.k(head), token, PAGE) };
    // SAFETY: as for this function.
    unsafe {
        let from = page.add(from);
        match layout.kind {
            KvType::F32 => {
                for d in 0..dim {
                    *to.add(d) = *from.cast::<f32>().add(first + d * step);
                }
            }
            KvType::F16 => {
                for d in (0..dim).step_by(8) {
                    let eight: [u16; 8] = core::array::from_fn(|i| *from.cast::<u16>().add(first + (d + i) * step));
                    let (low, high) = I::load_f16(eight.as_ptr());
                    I::store(to.add(d), low);
                    I::store(to.add(d + 4), high);
                }
            }
            KvType::I8 => {
                let scales = if of_v { layout.v_scales(head) } else { layout.k_scales(head) };
                let scale = *page.add(scales).cast::<f32>().add(token);
                for d in 0..dim {
                    *to.add(d) = *from.cast::<i8>().add(first + d * step) as f32 * scale;
                }
            }
        }
    }
}

/// Copies `count` elements to places one page stride apart.
#[inline(always)]
unsafe fn scatter<T: Copy>(to: *mut T, from: *const T, count: usize) {
    for i in 0..count {
        // SAFETY: the caller's page has room for the whole head.
        unsafe { *to.add(i * PAGE) = *from.add(i) };
    }
}

/// Returns the size of the largest element of a head. NaN is ignored, infinity counts as the largest float.
///
/// # Safety
/// `head_dim` floats, a multiple of 4, must be readable at `x`.
#[inline(always)]
pub unsafe fn largest<I: Floats>(x: *const f32, head_dim: usize) -> f32 {
    let mut max = I::splat(0.0);
    for d in (0..head_dim).step_by(4) {
        // SAFETY: the caller's head.
        max = I::pmax(max, I::pmin(I::abs(unsafe { I::load(x.add(d)) }), I::splat(f32::MAX)));
    }
    I::largest(max)
}

/// Returns the scale of values of at most `max` in `steps` steps to each side of 0, max / steps, and its inverse; 0 and 0
/// for zeros.
#[inline(always)]
pub fn scale_of(max: f32, steps: f32) -> (f32, f32) {
    // Below this the inverse would be infinite; such values count as zeros.
    if max < 1e-36 { (0.0, 0.0) } else { (max / steps, steps / max) }
}
