//! What TLS says when it fails.

use batches::{Error, Shape};
use tokio::io::AsyncWriteExt as _;

use crate::{Scene, doubles::openai::KEY, order};

#[tokio::test]
async fn a_server_without_tls_is_told_from_one_that_is_away() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
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
