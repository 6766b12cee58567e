//! A table of numbered places that grows and shrinks by pages, and never moves what it holds.
//!
//! A list that doubles copies a million connections at once, while all of them wait, and holds up to
//! twice what it needs. Here a page comes with the first place taken in it and goes with the last one freed.
//! Bound: one page more than what is taken fills, where the lowest free places are taken first.

use std::ops::{Index, IndexMut};

/// Places for each word of bits that a page has.
const PLACES: usize = u64::BITS as usize;

/// Values by number. A place that is not taken holds the default value. A page has 256 places unless its words are told.
#[derive(Debug)]
pub struct Pages<T, const WORDS: usize = 4> {
    pages: Vec<Option<Box<PageOf<T, WORDS>>>>,
    /// One bit a page that has no free place, so that none of those is looked at for one.
    full: Vec<u64>,
    /// No page of a word before this one has a free place.
    roomy: usize,
    taken: usize,
}

#[derive(Debug)]
struct PageOf<T, const WORDS: usize> {
    items: [[T; PLACES]; WORDS],
    /// One bit a place that is taken.
    taken: [u64; WORDS],
}

impl<T: Default, const WORDS: usize> PageOf<T, WORDS> {
    /// Made where it stays: a page is some 40 KB, and would be copied twice otherwise.
    fn new() -> Box<PageOf<T, WORDS>> {
        let mut page = Box::<PageOf<T, WORDS>>::new_uninit();
        let new = page.as_mut_ptr();
        // SAFETY: `new` points to memory for a page that nothing else sees, and each part of a page is written, the items
        // one by one, before it is said to be one. Should a default panic, the memory is freed and no item is dropped.
        unsafe {
            let items = (&raw mut (*new).items).cast::<T>();
            for place in 0..WORDS * PLACES {
                items.add(place).write(T::default());
            }
            (&raw mut (*new).taken).write([0; WORDS]);
            page.assume_init()
        }
    }

    fn free_place(&self) -> Option<usize> {
        let word = self.taken.iter().position(|word| *word != u64::MAX)?;
        Some(word * 64 + self.taken[word].trailing_ones() as usize)
    }

    fn is_full(&self) -> bool {
        self.taken == [u64::MAX; WORDS]
    }
}

impl<T, const WORDS: usize> Default for Pages<T, WORDS> {
    fn default() -> Pages<T, WORDS> {
        Pages {
            pages: Vec::new(),
            full: Vec::new(),
            roomy: 0,
            taken: 0,
        }
    }
}

impl<T: Default, const WORDS: usize> Pages<T, WORDS> {
    /// Takes the lowest free place.
    pub fn take(&mut self) -> u32 {
        while self.full.get(self.roomy) == Some(&u64::MAX) {
            self.roomy += 1;
        }
        let full = self
            .full
            .get(self.roomy)
            .map_or(0, |word| word.trailing_ones());
        let at = self.roomy * 64 + full as usize;
        let page = self.pages.get(at).and_then(Option::as_ref);
        let place = page.and_then(|page| page.free_place()).unwrap_or(0);
        let number = (at * Self::PAGE + place) as u32;
        self.claim(number);
        number
    }

    /// Takes this place, for a table whose numbers another one gives.
    pub fn claim(&mut self, number: u32) -> &mut T {
        let (at, place) = Self::split(number);
        if self.pages.len() <= at {
            self.pages.resize_with(at + 1, || None);
            self.full.resize(at / 64 + 1, 0);
        }
        let page = self.pages[at].get_or_insert_with(PageOf::new);
        let bit = 1 << (place % 64);
        self.taken += usize::from(page.taken[place / 64] & bit == 0);
        page.taken[place / 64] |= bit;
        if page.is_full() {
            self.full[at / 64] |= 1 << (at % 64);
        }
        &mut page.items.as_flattened_mut()[place]
    }

    /// Frees a place, and with the last one of a page its memory.
    pub fn free(&mut self, number: u32) {
        let (at, place) = Self::split(number);
        let Some(Some(page)) = self.pages.get_mut(at) else {
            return;
        };
        let bit = 1 << (place % 64);
        self.taken -= usize::from(page.taken[place / 64] & bit != 0);
        page.taken[place / 64] &= !bit;
        page.items.as_flattened_mut()[place] = T::default();
        self.full[at / 64] &= !(1 << (at % 64));
        self.roomy = self.roomy.min(at / 64);
        if page.taken == [0; WORDS] {
            self.pages[at] = None;
            while let Some(None) = self.pages.last() {
                self.pages.pop();
            }
            self.full.truncate(self.pages.len().div_ceil(64));
            if self.pages.len() < self.pages.capacity() / 4 {
                self.pages.shrink_to(2 * self.pages.len());
                self.full.shrink_to(2 * self.full.len());
            }
        }
    }
}

impl<T, const WORDS: usize> Pages<T, WORDS> {
    /// Places of a page.
    const PAGE: usize = WORDS * PLACES;

    fn split(number: u32) -> (usize, usize) {
        (number as usize / Self::PAGE, number as usize % Self::PAGE)
    }

    /// How many places are taken.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.taken
    }

    pub fn is_empty(&self) -> bool {
        self.taken == 0
    }

    /// No place from this one on is taken.
    pub fn end(&self) -> u32 {
        (self.pages.len() * Self::PAGE) as u32
    }

    /// What a place holds; it may not be taken.
    #[inline]
    pub fn get(&self, number: u32) -> Option<&T> {
        let (at, place) = Self::split(number);
        let page = self.pages.get(at)?.as_ref()?;
        Some(&page.items.as_flattened()[place])
    }

    #[inline]
    pub fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        let (at, place) = Self::split(number);
        let page = self.pages.get_mut(at)?.as_mut()?;
        Some(&mut page.items.as_flattened_mut()[place])
    }

    /// All places of the pages there are, taken or not, with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> + Clone {
        let pages = self.pages.iter().enumerate();
        let pages = pages.filter_map(|(at, page)| Some((at, page.as_ref()?)));
        pages.flat_map(|(at, page)| {
            let items = page.items.as_flattened().iter().enumerate();
            items.map(move |(place, item)| ((at * Self::PAGE + place) as u32, item))
        })
    }
}

/// Panics where there is no such page.
impl<T, const WORDS: usize> Index<u32> for Pages<T, WORDS> {
    type Output = T;

    fn index(&self, number: u32) -> &T {
        match self.get(number) {
            Some(item) => item,
            None => panic!("no page holds place {number}"),
        }
    }
}

impl<T, const WORDS: usize> IndexMut<u32> for Pages<T, WORDS> {
    fn index_mut(&mut self, number: u32) -> &mut T {
        match self.get_mut(number) {
            Some(item) => item,
            None => panic!("no page holds place {number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Against a map: what is taken, the lowest first, and no page without a taken place.
    #[test]
    fn matches_a_map() {
        matches::<4>(20, 1_500, 6_000);
        // Of more than 64 pages.
        matches::<1>(2, 5_000, 25_000);
    }

    fn matches<const WORDS: usize>(seeds: u64, most: usize, steps: u32) {
        for seed in 0..seeds {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut pages: Pages<Option<u32>, WORDS> = Pages::default();
            let mut model: BTreeMap<u32, u32> = BTreeMap::new();
            let mut grows = true;
            for step in 0..steps {
                if model.len() > most || model.is_empty() {
                    grows = model.is_empty();
                }
                if random.u8(..10) < if grows { 7 } else { 3 } {
                    let lowest = (0..).find(|number| !model.contains_key(number));
                    let number = pages.take();
                    assert_eq!(Some(number), lowest, "seed {seed}, step {step}");
                    assert_eq!(pages[number], None, "a free place holds nothing");
                    pages[number] = Some(step);
                    model.insert(number, step);
                } else if let Some(&number) = random.choice(model.keys()) {
                    pages.free(number);
                    model.remove(&number);
                }
                assert_eq!(pages.len(), model.len());
                let is_full = |at: usize| {
                    let page = pages.pages[at].as_ref();
                    page.is_some_and(|page| page.free_place().is_none())
                };
                for at in 0..pages.pages.len() {
                    let said = pages.full[at / 64] >> (at % 64) & 1 == 1;
                    assert_eq!(said, is_full(at), "seed {seed}, step {step}");
                }
            }
            let held: BTreeMap<u32, u32> = pages
                .iter()
                .filter_map(|(number, item)| Some((number, (*item)?)))
                .collect();
            assert_eq!(held, model, "seed {seed}");
            let needed: std::collections::BTreeSet<u32> = model
                .keys()
                .map(|number| number / (WORDS as u32 * 64))
                .collect();
            assert_eq!(pages.pages.iter().flatten().count(), needed.len());
        }
    }

    #[test]
    fn nothing_is_kept_of_what_was_freed() {
        let mut pages: Pages<Option<Box<u32>>> = Pages::default();
        for number in 0..10_000 {
            *pages.claim(number) = Some(Box::new(number));
        }
        for number in 0..10_000 {
            pages.free(number);
            pages.free(number);
        }
        assert!(pages.is_empty());
        assert_eq!((pages.pages.capacity(), pages.full.capacity()), (0, 0));
    }
}
