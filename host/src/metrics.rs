//! Prometheus metrics: one recorder for the process, rendered on request, and process figures (resident memory, CPU).

/// Renders what the process has counted so far.
#[derive(Clone)]
pub struct Metrics {
    _private: (),
}

impl Metrics {
    /// Installs the recorder; the same handle when called again.
    pub fn install() -> Self {
        todo!()
    }
    /// Prometheus text format.
    pub fn render(&self) -> String {
        todo!()
    }
}
