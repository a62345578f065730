//! TLS: what it lets through, and what it says when it does not.

use std::{net::SocketAddr, sync::Arc};

use batches::{Error, Shape, client_builder};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    },
};

use crate::{Scene, doubles::openai::KEY, order};

/// A root that nobody trusts, and what it signed; `tests/tls/make` made them.
const ROOT: &[u8] = include_bytes!("../tls/root.pem");
const CERTIFICATE: &[u8] = include_bytes!("../tls/server.pem");
const KEY_OF_SERVER: &[u8] = include_bytes!("../tls/server.key");

/// A server with a certificate for `localhost` that answers everything with an empty list.
async fn server() -> SocketAddr {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE).unwrap();
    let key = PrivateKeyDer::from_pem_slice(KEY_OF_SERVER).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
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
            // Whoever does not trust it breaks the handshake off.
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut asked = [0; 4096];
            let _ = stream.read(&mut asked).await;
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\nconnection: close\r\n\r\n{\"data\":[]}";
            let _ = stream.write_all(answer).await;
            let _ = stream.shutdown().await;
        }
    });
    address
}

#[tokio::test]
async fn a_server_whose_root_is_trusted_is_spoken_to() {
    let address = server().await;
    let url = format!("https://localhost:{}/v1/batches", address.port());
    let root = reqwest::Certificate::from_pem(ROOT).unwrap();
    let client = client_builder(&url).tls_certs_merge([root]).resolve("localhost", address).build().unwrap();
    assert_eq!(client.get(&url).send().await.unwrap().text().await.unwrap(), r#"{"data":[]}"#);
}

#[tokio::test]
async fn a_server_whose_root_is_unknown_gets_no_request() {
    let address = server().await;
    let scene = Scene::new(Shape::Openai, &format!("https://localhost:{}/v1", address.port()), KEY);
    let error = scene.provider.create(&order(Shape::Openai, "f", "t")).await.unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "nothing was sent: {error:?}");
    assert!(error.to_string().contains("invalid peer certificate"), "{error}");
}

#[tokio::test]
async fn a_server_without_tls_is_told_from_one_that_is_away() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // What a plain HTTP server makes of a handshake.
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n").await;
        }
    });
    let scene = Scene::new(Shape::Openai, &format!("https://{address}/v1"), KEY);
    let error = scene.provider.create(&order(Shape::Openai, "f", "t")).await.unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "nothing was sent: {error:?}");
    server.abort();
}
