//! Where the servers are: the URL, read so that no message shows its password.

use std::fmt;

use excom_core::{Error, ErrorKind, Result};

const FORM: &str = "redis://user:password@host:port/db, or rediss:// for TLS; several hosts separated by `,`, or \
                    `?cluster=true`, for a cluster";

/// A URL taken apart.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) scheme: &'static str,
    /// `user:password`, still escaped.
    login: Option<String>,
    hosts: Vec<String>,
    pub(super) db: u32,
    pub(super) cluster: bool,
}

impl Address {
    /// Reads a URL.
    ///
    /// # Errors
    /// `Configuration` with what is wrong, without the URL itself.
    pub(super) fn read(url: &str) -> Result<Self> {
        let (scheme, rest) = url.split_once("://").ok_or_else(|| malformed("it has no `://`"))?;
        // Valkey's names mean the same.
        let scheme = match scheme {
            "redis" | "valkey" => "redis",
            "rediss" | "valkeys" => "rediss",
            other => return Err(malformed(&format!("its scheme is `{other}`"))),
        };
        if rest.contains('#') {
            return Err(malformed("it has a `#`; in a password, `#` is written `%23`"));
        }
        let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) =
            authority.rsplit_once('@').map_or((None, authority), |(login, hosts)| (Some(login), hosts));
        let hosts: Vec<String> = hosts.split(',').map(str::to_owned).collect();
        if hosts.iter().any(String::is_empty) {
            return Err(malformed("a host is missing"));
        }
        let db = match path {
            "" => 0,
            path => path.parse().map_err(|_| {
                malformed("behind the host is no number of a database; in a password, `/` is written `%2F`")
            })?,
        };
        let cluster = match query {
            None => hosts.len() > 1,
            Some("cluster=true") => true,
            Some("cluster=false") if hosts.len() == 1 => false,
            Some("cluster=false") => return Err(malformed("several hosts are a cluster")),
            Some(_) => return Err(malformed("its only parameter is `cluster`, which is `true` or `false`")),
        };
        if cluster && db != 0 {
            return Err(malformed("a cluster has the database 0 only"));
        }
        Ok(Self { scheme, login: login.map(str::to_owned), hosts, db, cluster })
    }

    /// A URL for each host, as the client reads them.
    pub(super) fn nodes(&self) -> Vec<String> {
        let login = self.login.as_ref().map_or_else(String::new, |login| format!("{login}@"));
        self.hosts.iter().map(|host| format!("{}://{login}{host}/{}", self.scheme, self.db)).collect()
    }

    pub(super) fn encrypted(&self) -> bool {
        self.scheme == "rediss"
    }
}

/// Without the password.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme)?;
        if let Some((user, _)) = self.login.as_ref().and_then(|login| login.split_once(':'))
            && !user.is_empty()
        {
            write!(f, "{user}@")?;
        }
        write!(f, "{}/{}", self.hosts.join(","), self.db)?;
        if self.cluster { f.write_str("?cluster=true") } else { Ok(()) }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

pub(super) fn malformed(why: &str) -> Error {
    Error::new(ErrorKind::Configuration, format!("the URL of the Redis store is malformed: {why}")).hint(FORM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_shown_without_the_password() {
        for (url, shown, nodes) in [
            ("redis://localhost", "redis://localhost/0", vec!["redis://localhost/0"]),
            ("valkey://[::1]:7/3", "redis://[::1]:7/3", vec!["redis://[::1]:7/3"]),
            ("valkeys://u:s%40@h:1", "rediss://u@h:1/0", vec!["rediss://u:s%40@h:1/0"]),
            ("redis://:secret@h/", "redis://h/0", vec!["redis://:secret@h/0"]),
            ("redis://token@h/", "redis://h/0", vec!["redis://token@h/0"]),
            ("redis://h?cluster=true", "redis://h/0?cluster=true", vec!["redis://h/0"]),
            (
                "rediss://u:p@a:1,b:2/0",
                "rediss://u@a:1,b:2/0?cluster=true",
                vec!["rediss://u:p@a:1/0", "rediss://u:p@b:2/0"],
            ),
        ] {
            let address = Address::read(url).unwrap();
            assert_eq!(address.to_string(), shown);
            assert_eq!(format!("{address:?}"), shown);
            assert_eq!(address.nodes(), nodes);
        }
    }

    #[test]
    fn a_malformed_url_is_told_without_the_password() {
        for url in [
            "",
            "localhost:6379",
            "http://u:secret@h",
            "redis://",
            "redis://u:secret@",
            "redis://u:sec/secret@h",
            "redis://u:#secret@h",
            "redis://u:secret@h/x",
            "redis://u:secret@a,b/1",
            "redis://u:secret@a,b?cluster=false",
            "redis://u:secret@a?secret=1",
        ] {
            let error = Address::read(url).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration, "{url}");
            assert!(!format!("{error:?}").contains("secret"), "{error:?}");
        }
    }
}
