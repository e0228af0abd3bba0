//! Sequences in KV pages, and attention over them checked against the definition.
use super::{EPS, Random, near};
use foretoken_core::naive::{attention as naive, small};
use foretoken_core::{attention, kv_layer_bytes, write_kv};

const PAGE: usize = 16;

#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub kv_type: u32,
}

/// A sequence's x rows (q heads, then k, then v), in order of position.
pub struct World {
    pub shape: Shape,
    page_bytes: usize,
    layer_bytes: usize,
    pub pool: Vec<u8>,
    pub sequences: Vec<Vec<Vec<f32>>>,
    /// Pages of each sequence, scattered.
    tables: Vec<Vec<u32>>,
    /// Positions that a query sees, its own included; 0 for all.
    pub window: usize,
    /// Positions behind its own that a query sees, as far as the segment goes.
    pub ahead: usize,
    /// The soft cap of scores; 0 for none.
    pub cap: f32,
    /// What scores are multiplied by.
    pub scale: f32,
    /// What attention computes in: 0 floats, 1 integers.
    pub form: u32,
}

/// Two layers, of which the second is used, so that offsets matter.
const LAYERS: usize = 2;

impl World {
    pub fn new(random: &mut Random, shape: Shape, lengths: &[usize]) -> Self {
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
            scale: 1.0 / (head_dim as f32).sqrt(),
            form: 0,
        }
    }

    /// Runs one pass over (sequence, past, length) parts; returns out rows in pass order.
    pub fn pass(&mut self, parts: &[(usize, usize, usize)]) -> Vec<Vec<f32>> {
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
        let scale = self.scale;
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
                self.form,
            );
            assert_eq!(status, 0);
        }
        out.chunks(out_stride).map(|row| row[..heads * head_dim].to_vec()).collect()
    }

    /// K and V (head_dim) of a position as they lie in the pages.
    pub fn stored(&self, sequence: usize, position: usize, head: usize) -> (Vec<f32>, Vec<f32>) {
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

    /// The same in int8, with the scale of each. Pages must be int8.
    fn stored_in_integers(&self, sequence: usize, position: usize, head: usize) -> [(Vec<i8>, f32); 2] {
        let Shape { kv_heads, head_dim, .. } = self.shape;
        let (k, v) = self.stored(sequence, position, head);
        let page = self.tables[sequence][position / PAGE] as usize * self.page_bytes + self.layer_bytes;
        let scales = page + 2 * kv_heads * PAGE * head_dim;
        let scale = |index: usize| {
            let at = scales + (index * PAGE + position % PAGE) * 4;
            f32::from_le_bytes(self.pool[at..at + 4].try_into().unwrap())
        };
        [(k, scale(head)), (v, scale(kv_heads + head))].map(|(values, scale)| {
            (values.iter().map(|&value| if scale > 0.0 { (value / scale).round() as i8 } else { 0 }).collect(), scale)
        })
    }

    pub fn check_integers(&self, parts: &[(usize, usize, usize)], out: &[Vec<f32>], context: &str) {
        let Shape { heads, kv_heads, head_dim, .. } = self.shape;
        let mut row = 0;
        for &(sequence, past, length) in parts {
            let stored: Vec<Vec<_>> = (0..kv_heads)
                .map(|head| (0..past + length).map(|p| self.stored_in_integers(sequence, p, head)).collect())
                .collect();
            for position in past..past + length {
                for head in 0..heads {
                    let first = if self.window == 0 { 0 } else { (position + 1).saturating_sub(self.window) };
                    let last = position.saturating_add(self.ahead).min(past + length - 1);
                    let stored = &stored[head / (heads / kv_heads)][..=last];
                    let q = &self.sequences[sequence][position][head * head_dim..(head + 1) * head_dim];
                    let want = naive::row_in_integers(q, stored, first, self.scale, self.cap);
                    for d in 0..head_dim {
                        near(out[row][head * head_dim + d], want.value[d], want.bound[d], || {
                            format!("{context}: sequence {sequence}, position {position}, head {head}, dimension {d}")
                        });
                    }
                }
                row += 1;
            }
        }
    }

    pub fn check(&self, parts: &[(usize, usize, usize)], out: &[Vec<f32>], context: &str) {
        let Shape { heads, kv_heads, head_dim, .. } = self.shape;
        let scale = self.scale;
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

pub fn shapes() -> Vec<Shape> {
    let mut shapes = vec![];
    for (heads, kv_heads, head_dim) in [(1, 1, 8), (9, 3, 64), (4, 4, 16), (8, 1, 40), (14, 2, 64), (4, 2, 128)] {
        shapes.extend((0..3).map(|kv_type| Shape { heads, kv_heads, head_dim, kv_type }));
    }
    shapes
}

/// Shapes that integers can do.
pub fn integer_shapes() -> Vec<Shape> {
    [(1, 1, 32), (9, 3, 64), (14, 2, 64), (4, 2, 128), (3, 1, 96)]
        .map(|(heads, kv_heads, head_dim)| Shape { heads, kv_heads, head_dim, kv_type: 2 })
        .into()
}

/// Shapes with the forms that can do them.
pub fn forms() -> Vec<(Shape, u32)> {
    let floats = shapes().into_iter().map(|shape| (shape, 0));
    floats.chain(integer_shapes().into_iter().map(|shape| (shape, 2))).collect()
}

/// No window; windows of one key, within a block, of a block and more.
pub const WINDOWS: [usize; 7] = [0, 1, 5, 100, 128, 150, 1000];
