//! ADAT framing (RFC 2228 section 4): tokens as one line of base64, as Globus writes them and as strictly as Globus reads them.
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Longest token of a handshake or a delegation, in bytes before base64. rustls takes no handshake message beyond 64 KiB; records
/// and the two short messages behind a chain fit on top. Real ones have some 20 kB, most of it attribute certificates.
pub const MAX_TOKEN: usize = 72 * 1024;

/// The same as base64.
const TOKEN_AS_BASE64: usize = MAX_TOKEN.div_ceil(3) * 4;

/// Accepts `AUTH GSSAPI`; the client's first token follows.
pub const AUTH_ACCEPTED: &[u8] = b"334 Using authentication type; ADAT must follow.\r\n";

/// The exchange is complete, with no token: Globus clients expect none.
pub const AUTHENTICATED: &[u8] = b"235 GSSAPI Authentication successful.\r\n";

const COMMAND: &[u8] = b"ADAT";
/// The client cuts behind exactly these bytes.
const CONTINUE: &[u8] = b"335 ADAT=";
/// What of [`refusal`] comes from outside, in characters: a line or two of a terminal.
const MAX_CAUSE: usize = 400;

/// Why a token cannot be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AdatError {
    /// Not the command or reply that carries one.
    #[error("ADAT expected")]
    NoAdat,
    /// Nothing behind `ADAT`.
    #[error("the token is empty")]
    Empty,
    /// Longer than allowed.
    #[error("the token is longer than {MAX_TOKEN} bytes")]
    TooLong,
    /// A foreign character, wrong padding, or something behind it.
    #[error("the token is not base64")]
    NotBase64,
}

/// What a server says while a client authenticates to it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AdatReply {
    /// 335: it waits for the next token.
    Continue(Vec<u8>),
    /// 235: it is done, perhaps with a last token.
    Complete(Option<Vec<u8>>),
    /// It refuses; the reply says why.
    Refused,
}

/// The token of the line `ADAT …`, with or without its end of line; the case of the verb does not matter.
///
/// # Errors
/// When it is another command, or the token is missing, too long or not base64.
pub fn parse_command(line: &[u8]) -> Result<Vec<u8>, AdatError> {
    let line = without_line_end(line);
    let (verb, rest) = line.split_at_checked(COMMAND.len()).ok_or(AdatError::NoAdat)?;
    let argument = match rest {
        _ if !verb.eq_ignore_ascii_case(COMMAND) => return Err(AdatError::NoAdat),
        [] => return Err(AdatError::Empty),
        [b' ', argument @ ..] => argument,
        _ => return Err(AdatError::NoAdat),
    };
    decode(argument)
}

/// Reads the last line of a server's reply to AUTH's tokens.
///
/// # Errors
/// When a reply that goes on has no token that can be read.
pub fn parse_reply(line: &[u8]) -> Result<AdatReply, AdatError> {
    let line = without_line_end(line);
    // Some servers of old say 334.
    if let Some(encoded) = line.strip_prefix(CONTINUE).or_else(|| line.strip_prefix(b"334 ADAT=")) {
        return decode(encoded).map(AdatReply::Continue);
    }
    match line.split_at_checked(4) {
        Some((b"235 ", text)) => match text.strip_prefix(b"ADAT=") {
            Some(encoded) => decode(encoded).map(|token| AdatReply::Complete(Some(token))),
            None => Ok(AdatReply::Complete(None)),
        },
        Some((b"335 " | b"334 ", _)) => Err(AdatError::Empty),
        _ => Ok(AdatReply::Refused),
    }
}

/// `ADAT …`, the command.
pub fn command(token: &[u8]) -> Vec<u8> {
    line(b"ADAT ", token)
}

/// `335 ADAT=…`, the reply that asks for more.
pub fn reply(token: &[u8]) -> Vec<u8> {
    line(CONTINUE, token)
}

/// The 530 that ends an exchange, in the form of Globus servers and in clear; `cause` is for the user to read.
pub fn refusal(cause: &str) -> Vec<u8> {
    let mut text = b"530-globus_xio: Authentication Error\r\n530-".to_vec();
    // Names out of certificates are part of it.
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    text.extend(cause.chars().take(MAX_CAUSE).map(printable).collect::<String>().bytes());
    text.extend_from_slice(b"\r\n530 End.\r\n");
    text
}

fn line(prefix: &[u8], token: &[u8]) -> Vec<u8> {
    let mut line = Vec::with_capacity(prefix.len() + token.len().div_ceil(3) * 4 + 2);
    line.extend_from_slice(prefix);
    encode_into(token, &mut line);
    line.extend_from_slice(b"\r\n");
    line
}

/// Appends `bytes` as base64.
pub(super) fn encode_into(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    // As long as was made room for.
    let written = STANDARD.encode_slice(bytes, &mut out[start..]).unwrap_or(0);
    out.truncate(start + written);
}

fn decode(encoded: &[u8]) -> Result<Vec<u8>, AdatError> {
    if encoded.is_empty() {
        return Err(AdatError::Empty);
    }
    if encoded.len() > TOKEN_AS_BASE64 {
        return Err(AdatError::TooLong);
    }
    STANDARD.decode(encoded).map_err(|_| AdatError::NotBase64)
}

pub(super) fn without_line_end(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r\n").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn commands_are_read_as_strictly_as_globus_reads_them() {
        let long = format!("ADAT {}", "A".repeat(TOKEN_AS_BASE64 + 4));
        #[rustfmt::skip]
        let table: &[(&str, Result<&[u8], AdatError>)] = &[
            ("ADAT AAEC\r\n",     Ok(&[0, 1, 2])),
            ("adat AAEC",         Ok(&[0, 1, 2])),
            ("ADAT AA==\r\n",     Ok(&[0])),
            ("ADAT AAE=\r\n",     Ok(&[0, 1])),
            ("ADAT",              Err(AdatError::Empty)),
            ("ADAT \r\n",         Err(AdatError::Empty)),
            ("ADATA AAEC\r\n",    Err(AdatError::NoAdat)),
            ("AUTH GSSAPI\r\n",   Err(AdatError::NoAdat)),
            ("ADA",               Err(AdatError::NoAdat)),
            ("ADAT AA\r\n",       Err(AdatError::NotBase64)),
            ("ADAT AA=\r\n",      Err(AdatError::NotBase64)),
            ("ADAT AA===\r\n",    Err(AdatError::NotBase64)),
            ("ADAT AA==AA==\r\n", Err(AdatError::NotBase64)),
            ("ADAT AA== \r\n",    Err(AdatError::NotBase64)),
            ("ADAT  AAEC\r\n",    Err(AdatError::NotBase64)),
            ("ADAT AA\nEC\r\n",   Err(AdatError::NotBase64)),
            ("ADAT AAEC\n",       Err(AdatError::NotBase64)),
            ("ADAT AA-_\r\n",     Err(AdatError::NotBase64)),
            ("ADAT AB==\r\n",     Err(AdatError::NotBase64)),
            (&long,               Err(AdatError::TooLong)),
        ];
        for (line, expected) in table {
            assert_eq!(parse_command(line.as_bytes()).as_deref(), expected.as_deref(), "{line:.40}");
        }
    }

    #[test]
    fn replies_go_on_complete_or_refuse() {
        #[rustfmt::skip]
        let table: &[(&str, Result<AdatReply, AdatError>)] = &[
            ("335 ADAT=AAEC\r\n",                             Ok(AdatReply::Continue(vec![0, 1, 2]))),
            ("334 ADAT=AAEC\r\n",                             Ok(AdatReply::Continue(vec![0, 1, 2]))),
            ("235 GSSAPI Authentication successful.\r\n",     Ok(AdatReply::Complete(None))),
            ("235 ADAT=AAEC\r\n",                             Ok(AdatReply::Complete(Some(vec![0, 1, 2])))),
            ("530 End.\r\n",                                  Ok(AdatReply::Refused)),
            ("421 busy\r\n",                                  Ok(AdatReply::Refused)),
            ("\r\n",                                          Ok(AdatReply::Refused)),
            ("335 more data needed\r\n",                      Err(AdatError::Empty)),
            ("335 ADAT=\r\n",                                 Err(AdatError::Empty)),
            ("335 ADAT=A\r\n",                                Err(AdatError::NotBase64)),
            ("235 ADAT=A\r\n",                                Err(AdatError::NotBase64)),
        ];
        for (line, expected) in table {
            assert_eq!(&parse_reply(line.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn a_refusal_stays_three_lines_whatever_the_cause_says() {
        let text = refusal("no such\r\n230 user\0").into_iter().map(char::from).collect::<String>();
        assert_eq!(text, "530-globus_xio: Authentication Error\r\n530-no such  230 user \r\n530 End.\r\n");
    }

    proptest! {
        #[test]
        fn every_token_comes_back_in_both_directions(token in proptest::collection::vec(any::<u8>(), 1..2000)) {
            prop_assert_eq!(parse_command(&command(&token)), Ok(token.clone()));
            prop_assert_eq!(parse_reply(&reply(&token)), Ok(AdatReply::Continue(token.clone())));
            prop_assert_eq!(command(&token).iter().filter(|&&byte| byte == b'\n').count(), 1);
        }

        #[test]
        fn no_line_is_read_in_two_ways(line in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(token) = parse_command(&line) {
                prop_assert_eq!(&command(&token)[5..], [&without_line_end(&line)[5..], b"\r\n"].concat());
            }
        }
    }
}
