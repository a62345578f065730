//! Nearest descriptors by the number of bits that differ.

use super::Index;
use crate::{
    features::{Descriptor, Keypoint},
    product::Product,
};

/// Descriptors are laid out in blocks of this many, word by word, so that one instruction works on all of a block.
const LANES: usize = 8;

/// Descriptors in blocks.
pub(super) struct Table {
    blocks: Vec<[[u64; LANES]; 8]>,
    len: usize,
}

impl Table {
    pub(super) fn new(descriptors: &[Descriptor]) -> Self {
        let blocks = descriptors
            .chunks(LANES)
            .map(|chunk| {
                let mut block = [[0; LANES]; 8];
                for (lane, descriptor) in chunk.iter().enumerate() {
                    for (word, &bits) in descriptor.iter().enumerate() {
                        block[word][lane] = bits;
                    }
                }
                block
            })
            .collect();
        Self { blocks, len: descriptors.len() }
    }
}

/// A keypoint of the product and the one in the frame that looks most like it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pair {
    pub from: usize,
    pub to: usize,
    /// Bits that differ, of 512.
    pub distance: u16,
}

/// What makes a pair.
pub(super) struct Rules {
    /// Lowe's ratio test ("Distinctive image features from scale-invariant keypoints", IJCV 2004): the best must be
    /// nearer than the best one elsewhere in the frame by this factor.
    pub ratio: f32,
    pub most_bits: u16,
}

/// All pairs that pass the ratio test and are each other's best.
pub(super) fn pairs(product: &Product, frame: &Index<'_>, rules: &Rules) -> Vec<Pair> {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512vpopcntdq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bw")
        {
            // SAFETY: the processor has what the function is compiled for; that was just asked.
            return unsafe { pairs_avx512(product, frame, rules) };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("popcnt") {
            // SAFETY: as above.
            return unsafe { pairs_avx2(product, frame, rules) };
        }
    }
    pairs_with(product, frame, rules, |query, distances| measure_plain(query, frame, distances))
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vpopcntdq,popcnt")]
fn pairs_avx512(product: &Product, frame: &Index<'_>, rules: &Rules) -> Vec<Pair> {
    pairs_with(product, frame, rules, |query, distances| measure_blocks(query, &frame.table, distances))
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,popcnt")]
fn pairs_avx2(product: &Product, frame: &Index<'_>, rules: &Rules) -> Vec<Pair> {
    pairs_with(product, frame, rules, |query, distances| measure_plain(query, frame, distances))
}

/// `measure` writes a descriptor's distances to all of the frame's. Inlined into each of the functions above, so that
/// it is compiled for each kind of processor.
#[inline(always)]
fn pairs_with(
    product: &Product,
    frame: &Index<'_>,
    rules: &Rules,
    measure: impl Fn(&Descriptor, &mut [u16]),
) -> Vec<Pair> {
    let table = &frame.table;
    let mut distances = vec![u16::MAX; table.blocks.len() * LANES];
    // For each keypoint of the frame the best of the product: distance and number in one, so that a minimum does it.
    let mut back = vec![u32::MAX; distances.len()];
    let (mut found, mut lows) = (Vec::new(), Vec::new());
    for (from, descriptor) in product.features.descriptors.iter().enumerate() {
        measure(descriptor, &mut distances);
        for (best, &distance) in back.iter_mut().zip(&distances) {
            *best = (*best).min(u32::from(distance) << 16 | from as u32);
        }
        let distances = &distances[..table.len];
        lows.clear();
        lows.extend(distances.chunks(CHUNK).map(|part| part.iter().fold(u16::MAX, |least, &d| least.min(d))));
        let least = lows.iter().fold(u16::MAX, |least, &d| least.min(d));
        if least > rules.most_bits {
            continue;
        }
        let limit = (f32::from(least) / rules.ratio) as u16;
        let to = within(distances, &lows, least).find(|&i| distances[i] == least);
        if let Some(to) = to
            && !within(distances, &lows, limit).any(|i| are_apart(&frame.features.keypoints, to, i))
        {
            found.push(Pair { from, to, distance: least });
        }
    }
    found.retain(|pair| back[pair.to] & 0xffff == pair.from as u32);
    found
}

#[inline(always)]
fn measure_plain(query: &Descriptor, frame: &Index<'_>, distances: &mut [u16]) {
    for (other, out) in frame.features.descriptors.iter().zip(distances) {
        *out = query.iter().zip(other).map(|(a, b)| (a ^ b).count_ones()).sum::<u32>() as u16;
    }
}

/// Eight descriptors at once. By hand, because the compiler takes the loops apart the wrong way.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vpopcntdq,popcnt")]
fn measure_blocks(query: &Descriptor, table: &Table, distances: &mut [u16]) {
    use std::arch::x86_64::{
        _mm_storeu_si128, _mm512_add_epi64, _mm512_cvtepi64_epi16, _mm512_loadu_si512, _mm512_popcnt_epi64,
        _mm512_set1_epi64, _mm512_setzero_si512, _mm512_xor_si512,
    };
    let query = query.map(|word| _mm512_set1_epi64(word.cast_signed()));
    for (block, out) in table.blocks.iter().zip(distances.as_chunks_mut::<LANES>().0) {
        let mut sums = _mm512_setzero_si512();
        for (row, word) in block.iter().zip(query) {
            // SAFETY: a row is 64 bytes long, as the load is.
            let row = unsafe { _mm512_loadu_si512(row.as_ptr().cast()) };
            sums = _mm512_add_epi64(sums, _mm512_popcnt_epi64(_mm512_xor_si512(row, word)));
        }
        // SAFETY: eight numbers of 16 bits are 16 bytes, as the store is.
        unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), _mm512_cvtepi64_epi16(sums)) };
    }
}

/// Least distances are kept of so many at a time, and only where one is low enough each is looked at.
const CHUNK: usize = 64;

/// The numbers of all distances up to `limit`.
#[inline(always)]
fn within<'a>(distances: &'a [u16], lows: &'a [u16], limit: u16) -> impl Iterator<Item = usize> + 'a {
    let chunks = lows.iter().enumerate().filter(move |(_, low)| **low <= limit).map(|(chunk, _)| chunk * CHUNK);
    chunks.flat_map(move |start| start..(start + CHUNK).min(distances.len())).filter(move |&i| distances[i] <= limit)
}

/// Whether two keypoints are different places. The same place on another level of the pyramid is no rival.
fn are_apart(keypoints: &[Keypoint], a: usize, b: usize) -> bool {
    let (a, b) = (keypoints[a], keypoints[b]);
    let apart = 4.0 * a.size.max(b.size);
    (a.x - b.x).abs() > apart || (a.y - b.y).abs() > apart
}

/// Bits that differ.
pub(super) fn distance(a: &Descriptor, b: &Descriptor) -> u16 {
    a.iter().zip(b).map(|(x, y)| (x ^ y).count_ones() as u16).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{features::Features, sample::Random};

    #[test]
    fn every_kind_of_processor_measures_the_same() {
        let mut random = Random::new(9);
        let mut some = |count: usize| {
            let descriptors: Vec<Descriptor> = (0..count).map(|_| std::array::from_fn(|_| random.bits())).collect();
            let keypoint = |i: usize| Keypoint { x: i as f32 * 9.0, y: 5.0, size: 1.0, angle: 0.0 };
            Features { width: 400, height: 20, keypoints: (0..count).map(keypoint).collect(), descriptors }
        };
        let features = some(37);
        let frame = Index::new(&features);
        let query = features.descriptors[5];
        let mut plain = vec![0; 40];
        measure_plain(&query, &frame, &mut plain);
        assert_eq!(plain[5], 0);
        assert!(plain.iter().take(37).zip(&features.descriptors).all(|(&d, other)| d == distance(&query, other)));
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx512vpopcntdq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bw")
        {
            let mut blocks = vec![0; 40];
            // SAFETY: the processor has what the function is compiled for; that was just asked.
            unsafe { measure_blocks(&query, &frame.table, &mut blocks) };
            assert_eq!(blocks[..37], plain[..37]);
        }
    }
}
