//! A connection to a host: reached directly or through others, its key checked, the user authenticated. What goes wrong
//! is one sentence for the operator.

use std::{
    borrow::Cow,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use russh::{
    Channel, Disconnect,
    client::{self, AuthResult, Handle, Msg},
    keys::{
        HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate,
        agent::{AgentIdentity, client::AgentClient},
        load_secret_key,
    },
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{Instant, timeout_at},
};

use super::{host_keys::HostKeys, inventory::Inventory};
use crate::config::hosts::{HostConfig, SshConfig};

/// A host that says nothing for so long is asked whether it lives ...
const KEEPALIVE: Duration = Duration::from_secs(15);
/// ... so many times, before the connection counts as lost.
const KEEPALIVES: usize = 3;
/// What is buffered of a channel: a command that prints without end must not fill the memory.
const WINDOW: u32 = 256 * 1024;
const BUFFERED_MESSAGES: usize = 8;
/// A host gets this long to hear that we go.
const GOODBYE: Duration = Duration::from_secs(2);

/// See the module. Closed when it is dropped; [`Connection::close`] does it in an orderly way.
pub(super) struct Connection {
    handle: Handle<Client>,
    /// The host through which this one is reached.
    via: Option<Box<Connection>>,
}

impl Connection {
    /// Connects and authenticates within `patience`.
    pub(super) async fn open(
        inventory: &Inventory,
        host: &HostConfig,
        patience: Duration,
    ) -> Result<Connection, String> {
        Box::pin(open_until(inventory, host, Instant::now() + patience, patience)).await
    }

    /// A channel for a command.
    pub(super) async fn channel(&self) -> Result<Channel<Msg>, String> {
        self.handle.channel_open_session().await.map_err(|error| format!("no channel could be opened: {error}"))
    }

    pub(super) fn is_closed(&self) -> bool {
        self.handle.is_closed()
    }

    /// Says goodbye and closes.
    pub(super) async fn close(self) {
        let goodbye = async {
            if self.handle.disconnect(Disconnect::ByApplication, "done", "en").await.is_ok() {
                // The session's task ends when it was said.
                let _ = self.handle.await;
            }
        };
        let _ = tokio::time::timeout(GOODBYE, goodbye).await;
        if let Some(via) = self.via {
            Box::pin(via.close()).await;
        }
    }
}

async fn open_until(
    inventory: &Inventory,
    host: &HostConfig,
    deadline: Instant,
    patience: Duration,
) -> Result<Connection, String> {
    let place = format!("{}:{}", host.address, host.port);
    let seconds = patience.as_secs();
    let silent = move |what: String| move |_| format!("{what} within {seconds} s");
    let keys = host_keys(inventory, host).await?;
    let (mut handle, via) = match &host.jump {
        None => {
            let stream = timeout_at(deadline, reach(host, &place))
                .await
                .map_err(silent(format!("{place} did not answer")))??;
            // Words of a stop are short and are waited for.
            let _ = stream.set_nodelay(true);
            let spoken = timeout_at(deadline, shake_hands(stream, keys, &place)).await;
            (spoken.map_err(silent(format!("{place} took the connection and did not speak SSH")))??, None)
        }
        Some(name) => {
            let jump = inventory.get(name).ok_or_else(|| format!("the host `{name}` is not configured"))?;
            let via = Box::pin(open_until(inventory, &jump, deadline, patience))
                .await
                .map_err(|why| format!("through `{name}`: {why}"))?;
            let open = via.handle.channel_open_direct_tcpip(&host.address, host.port.into(), "127.0.0.1", 0);
            let channel = timeout_at(deadline, open)
                .await
                .map_err(silent(format!("through `{name}`: {place} did not answer")))?
                .map_err(|error| format!("through `{name}`: {place} is not reached: {error}"))?;
            let spoken = timeout_at(deadline, shake_hands(channel.into_stream(), keys, &place)).await;
            (spoken.map_err(silent(format!("{place} did not speak SSH")))??, Some(Box::new(via)))
        }
    };
    timeout_at(deadline, authenticate(&mut handle, host, &inventory.ssh))
        .await
        .map_err(silent(format!("signing in at {place} was not over")))??;
    Ok(Connection { handle, via })
}

async fn reach(host: &HostConfig, place: &str) -> Result<TcpStream, String> {
    let unknown = |why: String| format!("the address `{}` cannot be resolved: {why}", host.address);
    let found = tokio::net::lookup_host((host.address.as_str(), host.port)).await;
    let addresses: Vec<_> = found.map_err(|error| unknown(error.to_string()))?.collect();
    if addresses.is_empty() {
        return Err(unknown("nobody has it".to_owned()));
    }
    TcpStream::connect(&addresses[..]).await.map_err(|error| not_reached(place, &error))
}

fn not_reached(place: &str, error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => format!("{place} refused the connection"),
        std::io::ErrorKind::HostUnreachable | std::io::ErrorKind::NetworkUnreachable => {
            format!("there is no route to {place}")
        }
        _ => format!("{place} is not reached: {error}"),
    }
}

async fn host_keys(inventory: &Inventory, host: &HostConfig) -> Result<HostKeys, String> {
    let file =
        inventory.known_hosts().ok_or("there is no home folder with `.ssh/known_hosts`; set it under `[ssh]`")?;
    let (address, port, accept_new) = (host.address.clone(), host.port, inventory.ssh.accept_new);
    blocking(move || HostKeys::read(&file, &address, port, accept_new)).await
}

async fn shake_hands<S>(stream: S, keys: HostKeys, place: &str) -> Result<Handle<Client>, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut config = client::Config {
        window_size: WINDOW,
        channel_buffer_size: BUFFERED_MESSAGES,
        keepalive_interval: Some(KEEPALIVE),
        keepalive_max: KEEPALIVES,
        nodelay: true,
        ..client::Config::default()
    };
    config.preferred.key = Cow::Owned(keys.preferred(&config.preferred.key));
    let refusal = Arc::new(Mutex::new(None));
    let client = Client { keys, refusal: refusal.clone() };
    client::connect_stream(Arc::new(config), stream, client).await.map_err(|error| {
        let refused = refusal.lock().unwrap_or_else(PoisonError::into_inner).take();
        refused.unwrap_or_else(|| format!("{place} does not speak SSH as we do: {error}"))
    })
}

/// What the server may ask of us.
pub(super) struct Client {
    keys: HostKeys,
    /// Why its key was not taken.
    refusal: Arc<Mutex<Option<String>>>,
}

impl client::Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        let checked = match shown {
            PublicKeyOrCertificate::PublicKey { key, .. } => {
                let (keys, key) = (self.keys.clone(), key.clone());
                blocking(move || keys.check(&key)).await
            }
            PublicKeyOrCertificate::Certificate(_) => Err("the host showed a certificate instead of a key".to_owned()),
        };
        let refused = checked.err();
        let is_known = refused.is_none();
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = refused;
        Ok(is_known)
    }
}

// ---- who we are ----

async fn authenticate(handle: &mut Handle<Client>, host: &HostConfig, ssh: &SshConfig) -> Result<(), String> {
    let user = user_of(host);
    let mut tried = Vec::new();
    if let Some(path) = &host.key {
        let key = read_key(path, host.passphrase_env.as_deref()).await?;
        let hash = rsa_hash(handle, key.algorithm().is_rsa()).await;
        let key = PrivateKeyWithHashAlg::new(Arc::new(key), hash);
        if accepted(handle.authenticate_publickey(&user, key).await)? {
            return Ok(());
        }
        tried.push(format!("the key `{}`", path.display()));
    } else if let Some(socket) = agent_of(ssh) {
        match by_agent(handle, &user, &socket).await {
            Ok(None) => return Ok(()),
            Ok(Some(keys)) => tried.push(format!("the {keys} of the agent `{}`", socket.display())),
            // There is another way in.
            Err(_) if host.password_env.is_some() => {}
            Err(why) => return Err(format!("the agent `{}` {why}", socket.display())),
        }
    }
    if let Some(variable) = &host.password_env {
        let password = secret_of(variable)?;
        if accepted(handle.authenticate_password(&user, password).await)? {
            return Ok(());
        }
        tried.push(format!("the password of `{variable}`"));
    }
    if tried.is_empty() {
        return Err("there is nothing to sign in with: no key, no agent, no password is configured".to_owned());
    }
    Err(format!("the host does not let `{user}` in with {}", tried.join(", nor with ")))
}

fn agent_of(ssh: &SshConfig) -> Option<PathBuf> {
    let of_environment = || std::env::var_os("SSH_AUTH_SOCK").filter(|path| !path.is_empty()).map(PathBuf::from);
    ssh.agent.clone().or_else(of_environment)
}

fn user_of(host: &HostConfig) -> String {
    let own = || nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten().map(|user| user.name);
    host.user.clone().or_else(own).unwrap_or_else(|| "root".to_owned())
}

fn accepted(answer: Result<AuthResult, russh::Error>) -> Result<bool, String> {
    answer.map(|answer| answer.success()).map_err(|error| format!("signing in failed: {error}"))
}

async fn rsa_hash(handle: &Handle<Client>, is_rsa: bool) -> Option<HashAlg> {
    if !is_rsa {
        return None;
    }
    handle.best_supported_rsa_hash().await.ok().flatten().flatten()
}

/// Tries the agent's keys. `None`: one was taken; else how many were not.
async fn by_agent(handle: &mut Handle<Client>, user: &str, socket: &Path) -> Result<Option<String>, String> {
    let fault = |error: russh::keys::Error| format!("cannot be used: {error}");
    let mut agent = AgentClient::connect_uds(socket).await.map_err(fault)?;
    let mut tried = 0_usize;
    for identity in agent.request_identities().await.map_err(fault)? {
        let AgentIdentity::PublicKey { key, .. } = identity else { continue };
        tried += 1;
        let hash = rsa_hash(handle, key.algorithm().is_rsa()).await;
        let answer = handle.authenticate_publickey_with(user, key, hash, &mut agent).await;
        if answer.map_err(|error| format!("did not sign: {error}"))?.success() {
            return Ok(None);
        }
    }
    match tried {
        0 => Err("has no key".to_owned()),
        1 => Ok(Some("one key".to_owned())),
        keys => Ok(Some(format!("{keys} keys"))),
    }
}

/// A key that others may read is no secret: it is not used.
async fn read_key(path: &Path, passphrase_env: Option<&str>) -> Result<PrivateKey, String> {
    let passphrase = passphrase_env.map(secret_of).transpose()?;
    let path = path.to_owned();
    blocking(move || {
        let shown = path.display();
        let meta = path.metadata().map_err(|error| format!("the key `{shown}` cannot be read: {error}"))?;
        let mode = meta.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(format!("the key `{shown}` is open to others (mode {mode:03o}): `chmod 600` it"));
        }
        load_secret_key(&path, passphrase.as_deref()).map_err(|error| match error {
            russh::keys::Error::KeyIsEncrypted => {
                format!("the key `{shown}` has a passphrase: name its variable with `passphrase_env`")
            }
            error => format!("the key `{shown}` cannot be used: {error}"),
        })
    })
    .await
}

fn secret_of(variable: &str) -> Result<String, String> {
    std::env::var(variable).map_err(|_| format!("the environment variable `{variable}` is not set"))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(format!("work failed: {error}")))
}
