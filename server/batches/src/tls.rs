//! Clients that speak TLS: rustls with ring, as SSH does, and the roots of the system.

/// Begins a client for servers below `base_url`. Roots (of the system, or what `SSL_CERT_FILE` and `SSL_CERT_DIR` name) are
/// read only where they are needed: a machine without any can speak plain HTTP.
pub fn client_builder(base_url: &str) -> reqwest::ClientBuilder {
    // The process has one; whoever was first decided the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder();
    if base_url.starts_with("https://") { builder } else { builder.tls_certs_only([]) }
}
