//! The allocator of the whole program: mimalloc, whose per-thread heaps fit one shard a thread.
//!
//! The crate of that name asks for an alignment with every block, which mimalloc answers by a search and,
//! where the size is no power of two, by a larger block. Nearly all that Rust asks for is aligned
//! anyway: that is asked for plainly here, as std does with the system's allocator. No bound of its own.

use std::alloc::{GlobalAlloc, Layout};

use libmimalloc_sys::{mi_malloc, mi_realloc, mi_zalloc};
use mimalloc::MiMalloc;

/// What every block of at least this size is aligned to: mimalloc's `MI_MAX_ALIGN_SIZE`.
const ALIGN: usize = 16;

pub struct Mimalloc;

/// Whether a block of this size is so aligned without being asked. `malloc` must give what any type that
/// fits in the block needs, up to `max_align_t`, and an alignment is no more than the size of its type.
/// mimalloc keeps to that: its block sizes are 8 and multiples of 16, in pages that begin at one of 16.
const fn is_natural(size: usize, align: usize) -> bool {
    align <= ALIGN && align <= size
}

/// A block that must be searched for. Out of the way: where calls of the allocator are not inlined, the two conditions
/// of `is_natural` are then two branches, which take fewer steps than their result in one.
#[cold]
unsafe fn aligned(layout: Layout) -> *mut u8 {
    // SAFETY: the caller's promise.
    unsafe { MiMalloc.alloc(layout) }
}

// SAFETY: mimalloc's functions give blocks of the size asked for that are nobody else's, or null, and do not
// unwind; its blocks may be freed by any thread. They are aligned as asked, or by `is_natural`.
unsafe impl GlobalAlloc for Mimalloc {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: any size may be asked for; the rest is the caller's promise.
        unsafe {
            match is_natural(layout.size(), layout.align()) {
                true => mi_malloc(layout.size()).cast(),
                false => aligned(layout),
            }
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as in `alloc`.
        unsafe {
            match is_natural(layout.size(), layout.align()) {
                true => mi_zalloc(layout.size()).cast(),
                false => MiMalloc.alloc_zeroed(layout),
            }
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller says that the block is from here; mimalloc frees all kinds alike.
        unsafe { MiMalloc.dealloc(block, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller says that the block is from here and has this layout. One that stays in its
        // place has its alignment already, whichever of the two has made it.
        unsafe {
            match is_natural(size, layout.align()) {
                true => mi_realloc(block.cast(), size).cast(),
                false => MiMalloc.realloc(block, layout, size),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes around each of mimalloc's, and up to blocks that have pages of their own.
    fn sizes() -> impl Iterator<Item = usize> {
        let large = (10..25).flat_map(|bits| [(1 << bits) - 1, 1 << bits, (1 << bits) + 1]);
        (1..700).chain(large)
    }

    fn layouts() -> impl Iterator<Item = Layout> {
        let aligns = (0..8).map(|bits| 1 << bits).chain([4096]);
        aligns.flat_map(|align| {
            sizes().map(move |size| Layout::from_size_align(size, align).expect("a layout"))
        })
    }

    #[test]
    fn blocks_are_aligned_and_apart() {
        let mut blocks = Vec::new();
        for layout in layouts().filter(|layout| layout.size() < 5_000) {
            // SAFETY: no size is 0.
            let block = unsafe { Mimalloc.alloc(layout) };
            assert!(
                !block.is_null() && block.addr() % layout.align() == 0,
                "{layout:?}"
            );
            // SAFETY: so many bytes have been asked for.
            unsafe { block.write_bytes(blocks.len() as u8, layout.size()) };
            blocks.push((block, layout));
        }
        for (number, (block, layout)) in blocks.into_iter().enumerate() {
            // SAFETY: written above, and freed here.
            unsafe {
                let bytes = std::slice::from_raw_parts(block, layout.size());
                assert!(bytes.iter().all(|byte| *byte == number as u8), "{layout:?}");
                Mimalloc.dealloc(block, layout);
            }
        }
    }

    #[test]
    fn zeroed_blocks_are_zero_and_aligned() {
        for layout in layouts() {
            for _ in 0..2 {
                // SAFETY: no size is 0; what is read and written was asked for.
                unsafe {
                    let block = Mimalloc.alloc_zeroed(layout);
                    assert!(
                        !block.is_null() && block.addr() % layout.align() == 0,
                        "{layout:?}"
                    );
                    let bytes = std::slice::from_raw_parts_mut(block, layout.size());
                    assert!(bytes.iter().all(|byte| *byte == 0), "{layout:?}");
                    // For the next, which may get the same block.
                    bytes.fill(1);
                    Mimalloc.dealloc(block, layout);
                }
            }
        }
    }

    #[test]
    fn what_grows_or_shrinks_keeps_its_bytes_and_alignment() {
        for layout in layouts().filter(|layout| layout.size() < 70_000) {
            for size in [
                1,
                layout.size() / 2 + 1,
                layout.size() + 1,
                3 * layout.size(),
            ] {
                let kept = size.min(layout.size());
                // SAFETY: no size is 0; what is read and written was asked for.
                unsafe {
                    let block = Mimalloc.alloc(layout);
                    block.write_bytes(7, layout.size());
                    let block = Mimalloc.realloc(block, layout, size);
                    assert!(
                        !block.is_null() && block.addr() % layout.align() == 0,
                        "{layout:?}"
                    );
                    let bytes = std::slice::from_raw_parts(block, kept);
                    assert!(bytes.iter().all(|byte| *byte == 7), "{layout:?} to {size}");
                    let layout = Layout::from_size_align(size, layout.align()).expect("a layout");
                    Mimalloc.dealloc(block, layout);
                }
            }
        }
    }
}
