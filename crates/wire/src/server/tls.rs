//! Certificates: the operator's files, or one made here for development.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::Secret;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("read the certificates in {path}")]
    Certificates {
        path: PathBuf,
        #[source]
        source: pem::Error,
    },
    #[error("read the private key in {path}")]
    Key {
        path: PathBuf,
        #[source]
        source: pem::Error,
    },
    #[error("make a certificate")]
    Make(#[source] rcgen::Error),
    #[error("use the certificate and its key")]
    Use(#[source] rustls::Error),
}

/// TLS for a listener. Cheap to clone.
#[derive(Clone)]
pub struct Tls(pub(super) TlsAcceptor);

impl Tls {
    /// From PEM files: the chain, leaf first, and its key.
    pub fn from_files(certificates: &Path, key: &Path) -> Result<Self, TlsError> {
        let chain = CertificateDer::pem_file_iter(certificates)
            .and_then(Iterator::collect)
            .map_err(|source| TlsError::Certificates { path: certificates.into(), source })?;
        let key = PrivateKeyDer::from_pem_file(key).map_err(|source| TlsError::Key { path: key.into(), source })?;
        Self::new(chain, key)
    }

    /// A certificate for `names` and its key, made here: PEM texts, for `from_files`.
    pub fn make_self_signed(names: Vec<String>) -> Result<(String, Secret<String>), TlsError> {
        let made = rcgen::generate_simple_self_signed(names).map_err(TlsError::Make)?;
        Ok((made.cert.pem(), Secret::new(made.signing_key.serialize_pem())))
    }

    fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, TlsError> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(TlsError::Use)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }
}
