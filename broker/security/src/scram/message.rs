//! The messages of a SCRAM client, parsed. What comes from the wire is never asserted.

/// Why a message of a client is no SCRAM message that is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedMessage {
    /// It is not UTF-8.
    #[error("the message is not UTF-8")]
    Text,
    /// An attribute is missing, in the wrong place or empty.
    #[error("the message is not what RFC 5802 says at this point of the exchange")]
    Shape,
    /// Channel binding is asked for, which is not served.
    #[error("channel binding is not supported")]
    ChannelBinding,
    /// A mandatory extension, none of which is known.
    #[error("the message has a mandatory extension")]
    Extension,
}

/// `n,[a=authzid],n=user,r=nonce[,extensions]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientFirst {
    /// As whom the client wants to act; empty for itself.
    pub authorization_id: String,
    /// The user's name.
    pub user: String,
    /// The client's nonce.
    pub nonce: String,
    /// Up to the second comma, which the client repeats in its channel binding.
    pub gs2_header: String,
    /// The message without that header.
    pub bare: String,
}

impl ClientFirst {
    /// Parses the first message of a client.
    ///
    /// # Errors
    /// [`MalformedMessage`].
    pub fn parse(bytes: &[u8]) -> Result<Self, MalformedMessage> {
        use MalformedMessage::{ChannelBinding, Extension, Shape, Text};
        let text = std::str::from_utf8(bytes).map_err(|_| Text)?;
        let (flag, rest) = text.split_once(',').ok_or(Shape)?;
        // "y" is a client that could bind and believes that we cannot, which is true.
        match flag {
            "n" | "y" => {}
            flag if flag.starts_with("p=") => return Err(ChannelBinding),
            _ => return Err(Shape),
        }
        let (authorization, bare) = rest.split_once(',').ok_or(Shape)?;
        let authorization_id = match authorization {
            "" => String::new(),
            named => name(named.strip_prefix("a=").ok_or(Shape)?)?,
        };
        if bare.starts_with("m=") {
            return Err(Extension);
        }
        let mut attributes = bare.split(',');
        let user = attributes.next().and_then(|user| user.strip_prefix("n="));
        let nonce = attributes.next().and_then(|nonce| nonce.strip_prefix("r="));
        let (user, nonce) = (name(user.ok_or(Shape)?)?, nonce.ok_or(Shape)?);
        Ok(Self {
            authorization_id,
            user,
            nonce: printable(nonce)?.to_owned(),
            gs2_header: text[..text.len() - bare.len()].to_owned(),
            bare: bare.to_owned(),
        })
    }
}

/// `c=binding,r=nonce[,extensions],p=proof`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientFinal {
    /// The channel binding, decoded.
    pub binding: Vec<u8>,
    /// Both nonces.
    pub nonce: String,
    /// The proof, decoded.
    pub proof: Vec<u8>,
    /// The message without the proof.
    pub without_proof: String,
}

impl ClientFinal {
    /// Parses the last message of a client.
    ///
    /// # Errors
    /// [`MalformedMessage`].
    pub fn parse(bytes: &[u8]) -> Result<Self, MalformedMessage> {
        use MalformedMessage::{Shape, Text};
        let text = std::str::from_utf8(bytes).map_err(|_| Text)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(Shape)?;
        let mut attributes = without_proof.split(',');
        let binding = attributes.next().and_then(|c| c.strip_prefix("c="));
        let nonce = attributes.next().and_then(|r| r.strip_prefix("r="));
        Ok(Self {
            binding: base64(binding.ok_or(Shape)?)?,
            nonce: printable(nonce.ok_or(Shape)?)?.to_owned(),
            proof: base64(proof)?,
            without_proof: without_proof.to_owned(),
        })
    }
}

/// A name as SCRAM writes it: no commas, `=2C` for one, `=3D` for an equals sign. Not empty.
fn name(text: &str) -> Result<String, MalformedMessage> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('=') {
        out.push_str(&rest[..at]);
        out.push(match rest.as_bytes().get(at + 1..at + 3) {
            Some(b"2C") => ',',
            Some(b"3D") => '=',
            _ => return Err(MalformedMessage::Shape),
        });
        rest = &rest[at + 3..];
    }
    out.push_str(rest);
    if out.is_empty() || out.contains('\0') {
        return Err(MalformedMessage::Shape);
    }
    Ok(out)
}

/// A nonce: printable ASCII, not empty.
fn printable(text: &str) -> Result<&str, MalformedMessage> {
    let good = !text.is_empty() && text.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
    if good {
        Ok(text)
    } else {
        Err(MalformedMessage::Shape)
    }
}

fn base64(text: &str) -> Result<Vec<u8>, MalformedMessage> {
    let decoded = base64_simd::STANDARD.decode_to_vec(text.as_bytes());
    decoded.map_err(|_| MalformedMessage::Shape)
}
