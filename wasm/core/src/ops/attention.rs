//! Computes attention of packed segments over KV pages, with grouped KV heads, in one pass over the keys (online softmax).
//!
//! A unit of work is (segment, KV head, query tile): some tokens with all query heads that share the KV head, so their
//! rows read each key once. Keys come in blocks of 128, aligned to absolute positions; f16 and int8 blocks are expanded to
//! f32 once and serve all rows of the unit. Rows go in quads: a score tile is 4 rows x 8 keys, an output tile 4 rows x 8
//! dimensions, 8 accumulators either way (more make V8 spill).
//!
//! It is causal, or also sees some of the keys of its segment behind its own, which are in the pages before the first row.
//!
//! A row's arithmetic depends on its own q and on the positions of its keys alone: not on the rows beside it, nor on how
//! a prompt is cut into passes. So packing, chunking and prefix reuse change no bit.
mod block;
#[cfg(any(not(target_arch = "wasm32"), target_feature = "relaxed-simd"))]
pub mod integers;
mod tiles;

use super::kv::{Layout, PAGE};
use crate::simd::floats::Floats;

/// Number of keys in a block.
pub const BLOCK: usize = 128;
/// Maximum number of query rows in a unit, unless one token has more. Their q and output stay in the second-level cache.
const ROWS: usize = 192;

pub struct Args {
    /// Shape (tokens, heads * head_dim), rows `out_stride` apart.
    pub out: *mut f32,
    pub out_stride: usize,
    /// Query 0 of token 0; tokens are `q_stride` apart.
    pub q: *const f32,
    pub q_stride: usize,
    pub heads: usize,
    pub layout: Layout,
    pub layer_base: *const u8,
    pub page_bytes: usize,
    /// Holds {start, length, past, first entry of the page table} per segment.
    pub segments: *const [u32; 4],
    pub segment_count: usize,
    pub page_table: *const u32,
    pub scale: f32,
    /// Number of keys that a query sees, its own included; 0 for all before it.
    pub window: usize,
    /// Number of keys behind its own that a query sees, as far as its segment has them; 0 for causal attention.
    pub ahead: usize,
    /// Scores become soft_cap * tanh(score / soft_cap); 0 leaves them as they are.
    pub soft_cap: f32,
}

#[derive(Clone, Copy)]
struct Segment {
    start: usize,
    length: usize,
    past: usize,
    pages: *const u32,
}

impl Args {
    fn group(&self) -> usize {
        self.heads / self.layout.kv_heads
    }

    fn segment(&self, index: usize) -> Segment {
        // SAFETY: the caller of the kernel guarantees `segment_count` segments and their page lists.
        unsafe {
            let [start, length, past, table] = *self.segments.add(index);
            let pages = self.page_table.add(table as usize);
            Segment { start: start as usize, length: length as usize, past: past as usize, pages }
        }
    }

    /// Returns how many of the `before` keys up to its own a query sees.
    fn keys(&self, before: usize) -> usize {
        if self.window == 0 { before } else { before.min(self.window) }
    }

    /// Returns the number of units, and the smallest number of them worth handing to a thread.
    pub fn units(&self) -> (usize, usize) {
        let tile = tile_tokens(self.group());
        let mut units = 0;
        let mut work = 0;
        for index in 0..self.segment_count {
            let Segment { length, past, .. } = self.segment(index);
            units += length.div_ceil(tile) * self.layout.kv_heads;
            work += length * self.keys(past + length);
        }
        // This takes about 5 microseconds at 40 GFLOP/s.
        let worth = 50_000 * units;
        (units, (worth / (work * self.heads * self.layout.head_dim).max(1)).max(1))
    }
}

/// Returns the number of tokens in a unit.
fn tile_tokens(group: usize) -> usize {
    (ROWS / group.max(1)).max(1)
}

/// Returns the number of rows in a unit, in whole quads.
fn tile_rows(group: usize) -> usize {
    (tile_tokens(group) * group).div_ceil(4).saturating_mul(4)
}

/// Returns the bytes of scratch that a thread needs.
pub fn scratch_bytes(head_dim: usize, group: usize) -> u64 {
    let [rows, block, dim] = [tile_rows(group) as u64, BLOCK as u64, head_dim as u64];
    let rest = 2 * rows + 4 * block + 2 * block;
    (2 * (rows + block)).saturating_mul(dim).saturating_add(rest).saturating_mul(4)
}

/// Computes units `lo..hi`; late tiles, the expensive ones, come first within a segment.
///
/// # Safety
/// Everything that `args` points to must be as described, and the scratch `scratch_bytes` long.
pub unsafe fn body<I: Floats>(args: &Args, lo: usize, hi: usize, scratch: *mut u8) {
    units(args, lo, hi, |unit| {
        // SAFETY: as for this function.
        unsafe { unit.run::<I>(scratch.cast()) }
    });
}

/// Calls `run` for units `lo..hi`.
#[inline(always)]
fn units(args: &Args, lo: usize, hi: usize, run: impl Fn(&Unit)) {
    let kv_heads = args.layout.kv_heads;
    let tile = tile_tokens(args.group());
    let mut first = 0;
    for index in 0..args.segment_count {
        let segment = args.segment(index);
        let tiles = segment.length.div_ceil(tile);
        let end = first + tiles * kv_heads;
        for unit in lo.max(first)..hi.min(end) {
            let from = (tiles - 1 - (unit - first) / kv_heads) * tile;
            let head = (unit - first) % kv_heads;
            let tokens = tile.min(segment.length - from);
            run(&Unit { args, segment, head, from, tokens });
        }
        first = end;
    }
}

/// The work for tokens `from..from + tokens` of a segment with KV head `head`.
struct Unit<'a> {
    args: &'a Args,
    segment: Segment,
    head: usize,
    from: usize,
    tokens: usize,
}

/// Scratch layout of a unit; `rows` is in whole quads, and a quad's rows are adjacent.
struct Scratch {
    /// Shape (rows / 4, head_dim, 4): q times the scale and log2(e).
    q: *mut f32,
    /// Shape (rows / 4, head_dim / 8, 4, 8): outputs not yet divided by `sum`.
    out: *mut f32,
    /// Largest score so far of each row.
    max: *mut f32,
    /// Sum of e^(score - max) so far of each row.
    sum: *mut f32,
    /// Shape (4, BLOCK): a quad's scores, then its weights.
    scores: *mut f32,
    /// Space for an expanded block.
    expanded: *mut f32,
    /// The soft cap of scores as exponents of two; 0 for none.
    cap: f32,
}

impl Scratch {
    /// # Safety
    /// `scratch_bytes` must be at `from`.
    unsafe fn at(from: *mut f32, args: &Args) -> Self {
        let head_dim = args.layout.head_dim;
        let most = tile_rows(args.group());
        // SAFETY: as above.
        unsafe {
            let q = from;
            let out = q.add(most * head_dim);
            let max = out.add(most * head_dim);
            let sum = max.add(most);
            let scores = sum.add(most);
            let expanded = scores.add(4 * BLOCK);
            let cap = args.soft_cap * core::f32::consts::LOG2_E;
            Self { q, out, max, sum, scores, expanded, cap }
        }
    }
}

impl Unit<'_> {
    unsafe fn run<I: Floats>(&self, scratch: *mut f32) {
        let head_dim = self.args.layout.head_dim;
        let rows = self.tokens * self.args.group();
        let quads = rows.div_ceil(4);
        // SAFETY: the layout is the one that `scratch_bytes` counts.
        unsafe {
            let scratch = Scratch::at(scratch, self.args);
            self.pack::<I>(&scratch, quads * 4);
            let last = self.last(rows - 1);
            // Blocks before the first row's window are before all windows.
            let first = self.hidden(0) / BLOCK * BLOCK;
            for start in (first..=last).step_by(BLOCK) {
                let keys = BLOCK.min(last + 1 - start);
                let block = block::load::<I>(self.args, &self.segment, self.head, start / PAGE, keys, scratch.expanded);
                for quad in 0..quads {
                    let (hidden, visible) = self.bounds(quad, rows, start);
                    tiles::quad::<I>(&scratch, &block, quad, head_dim, hidden, visible);
                }
            }
            self.unpack::<I>(&scratch, rows);
        }
    }

    /// Returns the first key that each row of a quad sees of the block from position `start` on, and the key after the
    /// last. Rows past the last of `rows` repeat it.
    #[inline(always)]
    fn bounds(&self, quad: usize, rows: usize, start: usize) -> ([usize; 4], [usize; 4]) {
        let row = |i: usize| (quad * 4 + i).min(rows - 1);
        let within = |position: usize| position.saturating_sub(start).min(BLOCK);
        let hidden = core::array::from_fn(|i| within(self.hidden(row(i))));
        let visible = core::array::from_fn(|i| within(self.last(row(i)) + 1));
        (hidden, visible)
    }

    /// Returns the position in its sequence of the token of row `row`.
    fn position(&self, row: usize) -> usize {
        self.segment.past + self.from + row / self.args.group()
    }

    /// Returns the position of the last key that row `row` sees.
    fn last(&self, row: usize) -> usize {
        let Segment { past, length, .. } = self.segment;
        self.position(row).saturating_add(self.args.ahead).min(past + length - 1)
    }

    /// Returns the number of positions before the window of row `row`.
    fn hidden(&self, row: usize) -> usize {
        let seen = self.position(row) + 1;
        seen - self.args.keys(seen)
    }

    /// Returns the token of row `row` in the pass, and its column in q and out.
    fn place(&self, row: usize) -> (usize, usize) {
        let group = self.args.group();
        let token = self.segment.start + self.from + row / group;
        (token, (self.head * group + row % group) * self.args.layout.head_dim)
    }

    /// Gathers q into quads, and clears the state. Rows past the last repeat it; their results are unused.
    unsafe fn pack<I: Floats>(&self, to: &Scratch, rows: usize) {
        let Args { q, q_stride, scale, .. } = *self.args;
        let head_dim = self.args.layout.head_dim;
        let real = self.tokens * self.args.group();
        // Scores are exponents of two, since powers of two need one multiplication less than powers of e.
        let scale = I::splat(scale * core::f32::consts::LOG2_E);
        for quad in (0..rows).step_by(4) {
            let from: [*const f32; 4] = core::array::from_fn(|i| {
                let (token, column) = self.place((quad + i).min(real - 1));
                q.wrapping_add(token * q_stride + column)
            });
            // SAFETY: q has these tokens and columns; scratch has room for `rows` rows.
            unsafe {
                for d in (0..head_dim).step_by(4) {
                    let [a, b, c, e] = from.map(|row| I::mul(I::load(row.add(d)), scale));
                    let (low, high) = I::zip(a, c);
                    let (low_2, high_2) = I::zip(b, e);
                    let (first, second) = I::zip(low, low_2);
                    let (third, fourth) = I::zip(high, high_2);
                    for (i, column) in [first, second, third, fourth].into_iter().enumerate() {
                        I::store(to.q.add(quad * head_dim + (d + i) * 4), column);
                    }
                }
                I::store(to.max.add(quad), I::splat(f32::NEG_INFINITY));
                I::store(to.sum.add(quad), I::splat(0.0));
            }
        }
        // SAFETY: as above.
        unsafe { to.out.write_bytes(0, rows * head_dim) };
    }

    /// Divides the outputs by the sums and writes the rows.
    unsafe fn unpack<I: Floats>(&self, from: &Scratch, rows: usize) {
        let head_dim = self.args.layout.head_dim;
        for row in 0..rows {
            let (token, column) = self.place(row);
            // SAFETY: out has this token and these columns; scratch holds `rows` rows.
            unsafe {
                let inverse = I::splat(1.0 / *from.sum.add(row));
                let packed = from.out.add(row / 4 * 4 * head_dim + row % 4 * 8);
                let to = self.args.out.add(token * self.args.out_stride + column);
                for d in (0..head_dim).step_by(4) {
                    I::store(to.add(d), I::mul(I::load(packed.add(d / 8 * 32 + d % 8)), inverse));
                }
            }
        }
    }
}
