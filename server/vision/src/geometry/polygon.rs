//! Polygons as lists of corners; the last corner is joined to the first.

use super::Point;

/// The area with a sign: positive when the corners go clockwise on the screen (y downwards).
#[must_use]
pub fn area(polygon: &[Point]) -> f64 {
    let mut sum = 0.0;
    for (a, b) in edges(polygon) {
        sum += a.x * b.y - b.x * a.y;
    }
    sum / 2.0
}

/// The smallest and the greatest coordinates; `None` for no corner.
#[must_use]
pub fn bounds(polygon: &[Point]) -> Option<(Point, Point)> {
    let first = *polygon.first()?;
    Some(polygon.iter().fold((first, first), |(low, high), p| {
        (Point::new(low.x.min(p.x), low.y.min(p.y)), Point::new(high.x.max(p.x), high.y.max(p.y)))
    }))
}

/// Whether the corners turn one way only. `slack` is the sine of a turn the other way that is overlooked.
#[must_use]
pub fn is_convex(polygon: &[Point], slack: f64) -> bool {
    let n = polygon.len();
    if n < 3 {
        return false;
    }
    let sign = area(polygon).signum();
    (0..n).all(|i| {
        let (a, b, c) = (polygon[i], polygon[(i + 1) % n], polygon[(i + 2) % n]);
        let lengths = a.distance(b) * b.distance(c);
        sign * turn(a, b, c) >= -slack * lengths
    })
}

/// Whether a point is inside, by the even-odd rule.
#[must_use]
pub fn contains(polygon: &[Point], point: Point) -> bool {
    let mut inside = false;
    for (a, b) in edges(polygon) {
        if (a.y > point.y) != (b.y > point.y) && point.x < (b.x - a.x) * (point.y - a.y) / (b.y - a.y) + a.x {
            inside = !inside;
        }
    }
    inside
}

/// The convex hull, clockwise on the screen (Andrew's monotone chain, 1979).
#[must_use]
pub fn hull(points: &[Point]) -> Vec<Point> {
    let mut sorted = points.to_vec();
    sorted.sort_by(|a, b| a.x.total_cmp(&b.x).then(a.y.total_cmp(&b.y)));
    sorted.dedup();
    if sorted.len() < 3 {
        return sorted;
    }
    let mut chain: Vec<Point> = Vec::with_capacity(sorted.len() * 2);
    let mut half = |points: &mut dyn Iterator<Item = Point>| {
        let start = chain.len();
        for p in points {
            while chain.len() >= start + 2 && turn(chain[chain.len() - 2], chain[chain.len() - 1], p) <= 0.0 {
                chain.pop();
            }
            chain.push(p);
        }
        chain.pop();
    };
    half(&mut sorted.iter().copied());
    half(&mut sorted.iter().rev().copied());
    chain
}

/// Leaves out corners of a convex polygon, the one that matters least first, until `most` are left and each one
/// that stays spans a triangle of at least `least_area` with its neighbours.
#[must_use]
pub fn simplify(polygon: &[Point], most: usize, least_area: f64) -> Vec<Point> {
    let mut corners = polygon.to_vec();
    while corners.len() > 4 {
        let n = corners.len();
        let triangle = |i: usize| (turn(corners[(i + n - 1) % n], corners[i], corners[(i + 1) % n]) / 2.0).abs();
        let Some(least) = (0..n).min_by(|&a, &b| triangle(a).total_cmp(&triangle(b))) else { break };
        if n <= most && triangle(least) >= least_area {
            break;
        }
        corners.remove(least);
    }
    corners
}

/// The part of a polygon inside a convex one (Sutherland and Hodgman, 1974).
#[must_use]
pub fn clip(polygon: &[Point], convex: &[Point]) -> Vec<Point> {
    let sign = area(convex).signum();
    let mut left = polygon.to_vec();
    for (a, b) in edges(convex) {
        let side = |p: Point| sign * turn(a, b, p);
        let mut next = Vec::with_capacity(left.len() + 4);
        for (p, q) in edges(&left) {
            let (sp, sq) = (side(p), side(q));
            if sp >= 0.0 {
                next.push(p);
            }
            if (sp >= 0.0) != (sq >= 0.0) {
                next.push(p.towards(q, sp / (sp - sq)));
            }
        }
        left = next;
    }
    left
}

/// How much two convex polygons overlap: intersection over union, 0 to 1.
#[must_use]
pub fn iou(a: &[Point], b: &[Point]) -> f64 {
    let common = area(&clip(a, b)).abs();
    let union = area(a).abs() + area(b).abs() - common;
    if union > 0.0 { (common / union).clamp(0.0, 1.0) } else { 0.0 }
}

fn edges(polygon: &[Point]) -> impl Iterator<Item = (Point, Point)> + '_ {
    let n = polygon.len();
    (0..n).map(move |i| (polygon[i], polygon[(i + 1) % n]))
}

/// Twice the area of the triangle, positive for a turn to the right on the screen.
fn turn(a: Point, b: Point, c: Point) -> f64 {
    (b.x - a.x) * (c.y - a.y) - (b.y - a.y) * (c.x - a.x)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square(x: f64, y: f64, side: f64) -> Vec<Point> {
        [(0.0, 0.0), (side, 0.0), (side, side), (0.0, side)].map(|(dx, dy)| Point::new(x + dx, y + dy)).to_vec()
    }

    #[test]
    fn half_covered_squares_overlap_by_a_third() {
        assert!((iou(&square(0.0, 0.0, 2.0), &square(1.0, 0.0, 2.0)) - 1.0 / 3.0).abs() < 1e-9);
        let mut other_way = square(1.0, 0.0, 2.0);
        other_way.reverse();
        assert!((iou(&square(0.0, 0.0, 2.0), &other_way) - 1.0 / 3.0).abs() < 1e-9);
    }

    #[test]
    fn polygons_apart_do_not_overlap() {
        assert!(iou(&square(0.0, 0.0, 1.0), &square(5.0, 5.0, 1.0)) < 1e-9);
    }

    #[test]
    fn a_hull_keeps_the_corners_and_turns_clockwise() {
        let mut points = square(0.0, 0.0, 4.0);
        points.extend([Point::new(1.0, 1.0), Point::new(2.0, 0.0), Point::new(3.0, 2.0)]);
        let hull = hull(&points);
        assert_eq!(hull.len(), 4);
        assert!((area(&hull) - 16.0).abs() < 1e-9);
        assert!(is_convex(&hull, 0.0));
    }

    #[test]
    fn a_bow_tie_is_not_convex() {
        let tie = [(0.0, 0.0), (1.0, 1.0), (1.0, 0.0), (0.0, 1.0)].map(|(x, y)| Point::new(x, y));
        assert!(!is_convex(&tie, 0.01));
    }

    #[test]
    fn simplifying_removes_what_matters_least() {
        let mut corners = square(0.0, 0.0, 100.0);
        corners.insert(1, Point::new(50.0, -1.0));
        assert_eq!(simplify(&corners, 8, 100.0), square(0.0, 0.0, 100.0));
        assert_eq!(simplify(&corners, 8, 10.0).len(), 5);
    }
}
