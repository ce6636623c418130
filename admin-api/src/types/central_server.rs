//! Types of the central server alone.
