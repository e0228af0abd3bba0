//! Computes out (rows, k) = rows `ids` of a weight (n, k) of any kind.
use super::repack::element;

/// A unit of work is a row of `out`.
pub struct Args {
    /// Shape (rows, k), rows `out_stride` apart.
    pub out: *mut f32,
    pub out_stride: usize,
    /// Shape (rows); all are below n.
    pub ids: *const u32,
    pub w: *const u8,
    pub kind: u32,
    pub k: usize,
}

/// # Safety
/// Rows `lo..hi` must be as described in the arguments.
pub unsafe fn body(args: &Args, lo: usize, hi: usize, _: *mut u8) {
    for row in lo..hi {
        // SAFETY: as for this function.
        unsafe {
            let id = *args.ids.add(row) as usize;
            let out = args.out.add(row * args.out_stride);
            for i in 0..args.k {
                *out.add(i) = element(args.w, args.kind, id, i, args.k);
            }
        }
    }
}
