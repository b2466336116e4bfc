//! The edge: what stands between a provider's connection and its request.

mod tls;
