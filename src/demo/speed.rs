//! How much faster than the real service the simulation runs.

use std::time::Duration;

/// A factor: 1 is as fast as the real service, 10 ten times as fast.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speed(f64);

impl Speed {
    /// A speed, brought into the range of what makes sense.
    pub fn new(factor: f64) -> Self {
        Self(factor.clamp(0.01, 1e6))
    }

    /// How long something takes at this speed.
    pub fn scale(self, duration: Duration) -> Duration {
        duration.div_f64(self.0)
    }
}
