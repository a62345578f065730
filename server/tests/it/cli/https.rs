//! A server behind a proxy that speaks TLS.

use std::{net::SocketAddr, path::Path, sync::Arc};

use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
};

use super::{belay, run};
use crate::harness::Server;

/// A root that nobody trusts, and what it signed for `localhost`.
const CERTIFICATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/batches/tests/tls");

/// Takes TLS and passes on what is inside.
async fn proxy(to: String) -> SocketAddr {
    let at = Path::new(CERTIFICATES);
    let certificate = CertificateDer::from_pem_file(at.join("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(at.join("server.key")).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, to) = (acceptor.clone(), to.clone());
            tokio::spawn(async move {
                let Ok(mut inside) = acceptor.accept(stream).await else { return };
                let mut server = TcpStream::connect(to).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut inside, &mut server).await;
            });
        }
    });
    address
}

#[tokio::test]
async fn a_server_is_reached_over_https_where_its_root_is_trusted() {
    let server = Server::start().await;
    let proxy = proxy(server.address()).await;
    let url = format!("https://localhost:{}", proxy.port());
    let args = ["job", "list", "--json", "--server", &url, "--token", server.token()];

    let mut trusting = belay();
    trusting.env("SSL_CERT_FILE", Path::new(CERTIFICATES).join("root.pem"));
    let ran = run(trusting, &args, "").await;
    assert_eq!(ran.code, 0, "{ran:?}");

    let ran = run(belay(), &args, "").await;
    assert!(ran.code == 5 && ran.err.contains("certificate"), "{ran:?}");
}
