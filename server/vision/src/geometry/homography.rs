//! Projective maps of the plane: estimated from pairs of points, applied, inverted.

use nalgebra::{Matrix3, SMatrix, SVector, SymmetricEigen};
use serde::{Deserialize, Serialize};

use super::Point;

/// A projective map, as a matrix over homogeneous coordinates.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "[[f64; 3]; 3]", into = "[[f64; 3]; 3]")]
pub struct Homography(Matrix3<f64>);

impl Homography {
    #[must_use]
    pub fn identity() -> Self {
        Self(Matrix3::identity())
    }

    /// `x' = a x + b y + c`, `y' = d x + e y + f`.
    #[must_use]
    pub fn affine([a, b, c, d, e, f]: [f64; 6]) -> Self {
        Self(Matrix3::new(a, b, c, d, e, f, 0.0, 0.0, 1.0))
    }

    /// Turned by `angle` (radians, clockwise on the screen) and enlarged by `scale`, so that `from` comes to `to`.
    #[must_use]
    pub fn similarity(scale: f64, angle: f64, from: Point, to: Point) -> Self {
        let (sin, cos) = (scale * angle.sin(), scale * angle.cos());
        let x = to.x - (cos * from.x - sin * from.y);
        let y = to.y - (sin * from.x + cos * from.y);
        Self::affine([cos, -sin, x, sin, cos, y])
    }

    /// Through four pairs exactly; `None` when three of the points are on a line.
    #[must_use]
    pub fn through(pairs: &[(Point, Point); 4]) -> Option<Self> {
        let (from, to) = (Normalisation::of(pairs.iter().map(|p| p.0))?, Normalisation::of(pairs.iter().map(|p| p.1))?);
        let mut rows = SMatrix::<f64, 8, 8>::zeros();
        let mut right = SVector::<f64, 8>::zeros();
        for (i, pair) in pairs.iter().enumerate() {
            let (p, q) = (from.apply(pair.0), to.apply(pair.1));
            let x = [p.x, p.y, 1.0, 0.0, 0.0, 0.0, -q.x * p.x, -q.x * p.y];
            let y = [0.0, 0.0, 0.0, p.x, p.y, 1.0, -q.y * p.x, -q.y * p.y];
            for k in 0..8 {
                rows[(2 * i, k)] = x[k];
                rows[(2 * i + 1, k)] = y[k];
            }
            right[2 * i] = q.x;
            right[2 * i + 1] = q.y;
        }
        let h = rows.lu().solve(&right)?;
        from.undo(&to, Matrix3::new(h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7], 1.0))
    }

    /// The best map for at least four weighted pairs: the direct linear transform on normalised points
    /// (Hartley, "In defense of the eight-point algorithm", 1997).
    #[must_use]
    pub fn fit(pairs: &[(Point, Point, f64)]) -> Option<Self> {
        if pairs.len() < 4 {
            return None;
        }
        let (from, to) = (Normalisation::of(pairs.iter().map(|p| p.0))?, Normalisation::of(pairs.iter().map(|p| p.1))?);
        let mut normal = SMatrix::<f64, 9, 9>::zeros();
        for &(p, q, weight) in pairs {
            let (p, q) = (from.apply(p), to.apply(q));
            let x = SVector::<f64, 9>::from([p.x, p.y, 1.0, 0.0, 0.0, 0.0, -q.x * p.x, -q.x * p.y, -q.x]);
            let y = SVector::<f64, 9>::from([0.0, 0.0, 0.0, p.x, p.y, 1.0, -q.y * p.x, -q.y * p.y, -q.y]);
            normal.ger(weight, &x, &x, 1.0);
            normal.ger(weight, &y, &y, 1.0);
        }
        let eigen = SymmetricEigen::try_new(normal, 1e-15, 200)?;
        let least = eigen.eigenvalues.imin();
        let h = eigen.eigenvectors.column(least);
        from.undo(&to, Matrix3::new(h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7], h[8]))
    }

    /// The best affine map for at least three weighted pairs (least squares).
    #[must_use]
    pub fn fit_affine(pairs: &[(Point, Point, f64)]) -> Option<Self> {
        if pairs.len() < 3 {
            return None;
        }
        let (from, to) = (Normalisation::of(pairs.iter().map(|p| p.0))?, Normalisation::of(pairs.iter().map(|p| p.1))?);
        let mut normal = Matrix3::zeros();
        let mut right = SMatrix::<f64, 3, 2>::zeros();
        for &(p, q, weight) in pairs {
            let (p, q) = (from.apply(p), to.apply(q));
            let row = SVector::<f64, 3>::new(p.x, p.y, 1.0);
            normal.ger(weight, &row, &row, 1.0);
            right.ger(weight, &row, &SVector::<f64, 2>::new(q.x, q.y), 1.0);
        }
        let h = normal.cholesky()?.solve(&right);
        from.undo(&to, Matrix3::new(h[(0, 0)], h[(1, 0)], h[(2, 0)], h[(0, 1)], h[(1, 1)], h[(2, 1)], 0.0, 0.0, 1.0))
    }

    /// Where a point comes to; `None` for a point on or behind the horizon.
    #[must_use]
    pub fn apply(&self, p: Point) -> Option<Point> {
        let m = &self.0;
        let w = m[(2, 0)] * p.x + m[(2, 1)] * p.y + m[(2, 2)];
        if w < 1e-6 {
            return None;
        }
        let x = m[(0, 0)] * p.x + m[(0, 1)] * p.y + m[(0, 2)];
        let y = m[(1, 0)] * p.x + m[(1, 1)] * p.y + m[(1, 2)];
        Some(Point::new(x / w, y / w))
    }

    /// Where all points of a polygon come to; `None` when one of them is behind the horizon.
    #[must_use]
    pub fn apply_all(&self, points: &[Point]) -> Option<Vec<Point>> {
        points.iter().map(|&p| self.apply(p)).collect()
    }

    /// First `first`, then `self`.
    #[must_use]
    pub fn after(&self, first: &Self) -> Self {
        Self(self.0 * first.0)
    }

    #[must_use]
    pub fn inverse(&self) -> Option<Self> {
        Self::scaled_to_one(self.0.try_inverse()?)
    }

    /// The rows of the matrix, the last element 1.
    #[must_use]
    pub fn rows(&self) -> [[f64; 3]; 3] {
        [0, 1, 2].map(|r| [0, 1, 2].map(|c| self.0[(r, c)]))
    }

    /// The linear part at a point: how much a small step in x and in y moves the image, as `[[dx/dx, dx/dy], [dy/dx, dy/dy]]`.
    #[must_use]
    pub fn derivative(&self, p: Point) -> Option<[[f64; 2]; 2]> {
        let q = self.apply(p)?;
        let m = &self.0;
        let w = m[(2, 0)] * p.x + m[(2, 1)] * p.y + m[(2, 2)];
        Some([
            [(m[(0, 0)] - q.x * m[(2, 0)]) / w, (m[(0, 1)] - q.x * m[(2, 1)]) / w],
            [(m[(1, 0)] - q.y * m[(2, 0)]) / w, (m[(1, 1)] - q.y * m[(2, 1)]) / w],
        ])
    }

    fn scaled_to_one(matrix: Matrix3<f64>) -> Option<Self> {
        let last = matrix[(2, 2)];
        let scaled = matrix / last;
        (last.abs() > 1e-12 && scaled.iter().all(|v| v.is_finite())).then_some(Self(scaled))
    }
}

impl From<[[f64; 3]; 3]> for Homography {
    fn from(rows: [[f64; 3]; 3]) -> Self {
        Self(Matrix3::from_fn(|r, c| rows[r][c]))
    }
}

impl From<Homography> for [[f64; 3]; 3] {
    fn from(map: Homography) -> Self {
        map.rows()
    }
}

/// Moves the centre to the origin and the mean distance to the square root of two.
struct Normalisation {
    centre: Point,
    scale: f64,
}

impl Normalisation {
    fn of(points: impl Iterator<Item = Point> + Clone) -> Option<Self> {
        let n = points.clone().count() as f64;
        let sum = points.clone().fold(Point::default(), |sum, p| sum.moved(p.x, p.y));
        let centre = sum.scaled(1.0 / n);
        let spread = points.map(|p| p.distance(centre)).sum::<f64>() / n;
        (spread > 1e-9).then(|| Self { centre, scale: std::f64::consts::SQRT_2 / spread })
    }

    fn apply(&self, p: Point) -> Point {
        Point::new((p.x - self.centre.x) * self.scale, (p.y - self.centre.y) * self.scale)
    }

    fn matrix(&self) -> Matrix3<f64> {
        let s = self.scale;
        Matrix3::new(s, 0.0, -s * self.centre.x, 0.0, s, -s * self.centre.y, 0.0, 0.0, 1.0)
    }

    /// The map between points as they were, from the map between normalised points.
    fn undo(&self, to: &Self, between: Matrix3<f64>) -> Option<Homography> {
        Homography::scaled_to_one(to.matrix().try_inverse()? * between * self.matrix())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: Point, b: Point) -> bool {
        a.distance(b) < 1e-6
    }

    fn corners() -> [(Point, Point); 4] {
        [
            (Point::new(0.0, 0.0), Point::new(100.0, 50.0)),
            (Point::new(300.0, 0.0), Point::new(400.0, 80.0)),
            (Point::new(300.0, 400.0), Point::new(380.0, 470.0)),
            (Point::new(0.0, 400.0), Point::new(90.0, 500.0)),
        ]
    }

    #[test]
    fn four_pairs_are_met_exactly_and_the_inverse_leads_back() {
        let h = Homography::through(&corners()).unwrap();
        let back = h.inverse().unwrap();
        for (from, to) in corners() {
            assert!(near(h.apply(from).unwrap(), to));
            assert!(near(back.apply(to).unwrap(), from));
        }
    }

    #[test]
    fn a_fit_to_many_exact_pairs_is_the_map_itself() {
        let h = Homography::through(&corners()).unwrap();
        let pairs: Vec<_> = (0..40)
            .map(|i| Point::new(f64::from(i * 37 % 300), f64::from(i * 61 % 400)))
            .map(|p| (p, h.apply(p).unwrap(), 1.0))
            .collect();
        let fitted = Homography::fit(&pairs).unwrap();
        assert!(near(fitted.apply(Point::new(123.0, 234.0)).unwrap(), h.apply(Point::new(123.0, 234.0)).unwrap()));
    }

    #[test]
    fn an_affine_fit_finds_a_similarity() {
        let turned = Homography::similarity(0.5, 0.7, Point::new(10.0, 20.0), Point::new(200.0, 100.0));
        assert!(near(turned.apply(Point::new(10.0, 20.0)).unwrap(), Point::new(200.0, 100.0)));
        let pairs: Vec<_> = corners().iter().map(|(p, _)| (*p, turned.apply(*p).unwrap(), 1.0)).collect();
        let fitted = Homography::fit_affine(&pairs).unwrap();
        assert!(near(fitted.apply(Point::new(50.0, 60.0)).unwrap(), turned.apply(Point::new(50.0, 60.0)).unwrap()));
    }

    #[test]
    fn points_in_one_place_have_no_map() {
        assert!(Homography::through(&[(Point::default(), Point::default()); 4]).is_none());
        assert!(Homography::fit(&[(Point::default(), Point::default(), 1.0); 6]).is_none());
    }

    #[test]
    fn what_is_behind_the_horizon_has_no_image() {
        let h = Homography(Matrix3::new(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, -0.01, 0.0, 1.0));
        assert!(h.apply(Point::new(50.0, 0.0)).is_some());
        assert!(h.apply(Point::new(150.0, 0.0)).is_none());
    }
}
