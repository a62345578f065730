//! HTTP/1.1 by hand over one kept connection: every byte on the wire is counted, and nothing but the server takes time.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use serde_json::Value;

/// One kept connection of one caller.
pub(crate) struct Line {
    stream: BufReader<TcpStream>,
    address: String,
    token: String,
}

/// What came back.
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// Head as it came, names in lower case.
    head: String,
    /// As on the wire: compressed, without the framing of chunks.
    pub(crate) body: Vec<u8>,
    /// Bytes of head and body with framing.
    pub(crate) wire: usize,
    /// From the first byte written to the last one read.
    pub(crate) took: Duration,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let line = self.head.lines().find(|line| line.starts_with(name) && line[name.len()..].starts_with(':'))?;
        Some(line[name.len() + 1..].trim())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("no JSON: {} {}", self.status, String::from_utf8_lossy(&self.body)))
    }
}

impl Line {
    pub(crate) fn open(address: &str, token: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Line { stream: BufReader::new(stream), address: address.to_owned(), token: token.to_owned() }
    }

    pub(crate) fn get(&mut self, path: &str) -> Reply {
        self.ask("GET", path, &[], None)
    }

    pub(crate) fn post(&mut self, path: &str, body: &Value) -> Reply {
        self.ask("POST", path, &[], Some(body))
    }

    pub(crate) fn ask(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Reply {
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n",
            self.address,
            self.token,
            body.len()
        );
        if !body.is_empty() {
            request.push_str("content-type: application/json\r\n");
        }
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        request.push_str(&body);

        let begin = Instant::now();
        self.stream.get_mut().write_all(request.as_bytes()).unwrap();
        let head = self.read_head();
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap();
        let mut reply = Reply { status, wire: head.len(), head, body: Vec::new(), took: Duration::ZERO };
        if let Some(length) = reply.header("content-length").and_then(|text| text.parse::<usize>().ok())
            && status != 304
        {
            reply.body.resize(length, 0);
            self.stream.read_exact(&mut reply.body).unwrap();
            reply.wire += length;
        } else if reply.header("transfer-encoding") == Some("chunked") {
            self.read_chunks(&mut reply);
        }
        reply.took = begin.elapsed();
        reply
    }

    fn read_line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.stream.read_line(&mut line).unwrap() > 0, "the server closed the connection");
        line
    }

    fn read_head(&mut self) -> String {
        let mut head = String::new();
        loop {
            let line = self.read_line();
            if line == "\r\n" {
                head.push_str(&line);
                return head;
            }
            match line.split_once(':') {
                Some((name, value)) => head.push_str(&format!("{}:{value}", name.to_ascii_lowercase())),
                None => head.push_str(&line),
            }
        }
    }

    fn read_chunks(&mut self, reply: &mut Reply) {
        loop {
            let line = self.read_line();
            let size = usize::from_str_radix(line.trim(), 16).unwrap();
            let mut chunk = vec![0; size + 2];
            self.stream.read_exact(&mut chunk).unwrap();
            reply.wire += line.len() + chunk.len();
            if size == 0 {
                return;
            }
            reply.body.extend_from_slice(&chunk[..size]);
        }
    }
}
