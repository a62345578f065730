//! Finds products in pictures.
//!
//! A product shot becomes a [`product::Product`] (mask, outline, keypoints, a small reference picture), a frame of a
//! video becomes [`features::Features`]; [`matching::find`] says whether and where the product is in the frame.
//! [`keyframes`] picks the frames that are worth looking at, [`sightings`] joins what was found to scenes,
//! [`evidence`] draws it. [`sample`] makes pictures and videos whose truth is known.
//!
//! Nothing here starts threads or processes, and nothing waits: a caller that must be able to stop runs it in a
//! process of its own. Memory is bounded by the limits on pictures and the number of keypoints.

pub mod evidence;
pub mod features;
pub mod geometry;
pub mod keyframes;
pub mod load;
pub mod mask;
pub mod matching;
pub mod product;
pub mod sample;
pub mod sightings;
