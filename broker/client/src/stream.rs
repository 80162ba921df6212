//! The bytes of a connection: as they are, or through TLS. Two threads may share one, one that reads and one that
//! writes.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

/// Bytes that are read from the socket at a time.
const SEALED_BYTES: usize = 18 * 1024;

/// Files from which a client takes whom it trusts, and who it is.
#[derive(Debug, Clone, Default)]
pub struct TlsFiles {
    /// PEM file with the authorities of brokers; none for those of the system.
    pub ca: Option<PathBuf>,
    /// PEM file with the client's certificate, and the file with its key.
    pub own: Option<(PathBuf, PathBuf)>,
}

/// How a client speaks TLS. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ClientTls(Arc<ClientConfig>);

impl ClientTls {
    /// TLS with what the files hold.
    ///
    /// # Errors
    /// A file cannot be read, or holds nothing of its kind.
    pub fn new(files: &TlsFiles) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        match &files.ca {
            Some(file) => {
                for root in certificates(file)? {
                    roots.add(root).map_err(|error| unread(file, &error))?;
                }
            }
            None => {
                let found = rustls_native_certs::load_native_certs();
                roots.add_parsable_certificates(found.certs);
            }
        }
        if roots.is_empty() {
            return Err("no authority to check brokers against: name a file of them".to_owned());
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots);
        let config = match &files.own {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let chain = certificates(cert)?;
                let key = PrivateKeyDer::from_pem_file(key).map_err(|e| unread(key, &e))?;
                let built = builder.with_client_auth_cert(chain, key);
                built.map_err(|error| unread(cert, &error))?
            }
        };
        Ok(Self(Arc::new(config)))
    }
}

fn unread(file: &Path, error: &dyn std::fmt::Display) -> String {
    format!("{}: {error}", file.display())
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_file_iter(file).map_err(|error| unread(file, &error))?;
    let found: Result<Vec<_>, _> = found.collect();
    let found = found.map_err(|error| unread(file, &error))?;
    if found.is_empty() {
        return Err(unread(file, &"there is no certificate in it"));
    }
    Ok(found)
}

/// A connected socket, with TLS or without.
#[derive(Debug)]
pub struct Stream {
    tcp: TcpStream,
    tls: Option<Arc<Mutex<ClientConnection>>>,
    /// What has been read and not opened.
    sealed: Vec<u8>,
}

/// Where TLS stands on a connection, for who goes on with it.
#[derive(Debug)]
pub struct TlsState {
    /// The session, whose handshake is over.
    pub session: ClientConnection,
    /// What has been read from the socket and not opened.
    pub sealed: Vec<u8>,
}

fn lock(session: &Mutex<ClientConnection>) -> MutexGuard<'_, ClientConnection> {
    session.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stream {
    /// As the bytes are.
    pub fn plain(tcp: TcpStream) -> Self {
        Self {
            tcp,
            tls: None,
            sealed: Vec::new(),
        }
    }

    /// Through TLS with whom `address` (`host:port`) names; waits for the handshake.
    ///
    /// # Errors
    /// The socket fails, or whoever answers is not whom the name says.
    pub fn tls(tcp: TcpStream, address: &str, tls: &ClientTls) -> io::Result<Self> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let name = ServerName::try_from(host);
        let name = name.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let mut session = ClientConnection::new(tls.0.clone(), name).map_err(io::Error::other)?;
        let mut socket = &tcp;
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        Ok(Self {
            tcp,
            tls: Some(Arc::new(Mutex::new(session))),
            sealed: Vec::new(),
        })
    }

    /// The same connection for another thread. What this one has read and not given out stays here.
    ///
    /// # Errors
    /// The process has too many files open.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            tcp: self.tcp.try_clone()?,
            tls: self.tls.clone(),
            sealed: Vec::new(),
        })
    }

    /// The socket and, with TLS, where that stands. None while another thread shares it.
    pub fn into_parts(self) -> Option<(TcpStream, Option<TlsState>)> {
        let Some(session) = self.tls else {
            return Some((self.tcp, None));
        };
        let session = Arc::into_inner(session)?;
        let session = session.into_inner().unwrap_or_else(PoisonError::into_inner);
        let sealed = self.sealed;
        Some((self.tcp, Some(TlsState { session, sealed })))
    }

    /// The socket, to close it.
    pub(crate) fn socket(&self) -> io::Result<TcpStream> {
        self.tcp.try_clone()
    }

    /// Longest wait for bytes; none for ever.
    ///
    /// # Errors
    /// The socket refuses.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.tcp.set_read_timeout(timeout)
    }

    /// Longest wait for room; none for ever.
    ///
    /// # Errors
    /// The socket refuses.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.tcp.set_write_timeout(timeout)
    }

    pub(crate) fn shutdown(&self) -> io::Result<()> {
        self.tcp.shutdown(Shutdown::Both)
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Some(session) = &self.tls else {
            return self.tcp.read(into);
        };
        loop {
            {
                let mut session = lock(session);
                let mut left = self.sealed.as_slice();
                if !left.is_empty() {
                    session.read_tls(&mut left)?;
                    let taken = self.sealed.len() - left.len();
                    self.sealed.drain(..taken);
                    let opened = session.process_new_packets();
                    opened.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                }
                match session.reader().read(into) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    read => return read,
                }
            }
            if self.sealed.is_empty() {
                // Not under the lock: the other thread writes meanwhile.
                let mut more = [0; SEALED_BYTES];
                let count = self.tcp.read(&mut more)?;
                if count == 0 {
                    return Ok(0);
                }
                self.sealed.extend_from_slice(&more[..count]);
            }
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(session) = &self.tls else {
            return self.tcp.write(bytes);
        };
        let mut session = lock(session);
        let taken = session.writer().write(bytes)?;
        while session.wants_write() {
            session.write_tls(&mut self.tcp)?;
        }
        Ok(taken)
    }

    fn write_vectored(&mut self, parts: &[io::IoSlice<'_>]) -> io::Result<usize> {
        if self.tls.is_none() {
            return self.tcp.write_vectored(parts);
        }
        let part = parts.iter().find(|part| !part.is_empty());
        part.map_or(Ok(0), |part| self.write(part))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tcp.flush()
    }
}
