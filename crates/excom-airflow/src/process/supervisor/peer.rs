//! Whose a connection on the loopback interface is: anybody on the machine can connect to a port.

use std::fs;
use std::net::{SocketAddr, SocketAddrV4};
use std::path::Path;

use rustix::process::Pid;

/// The system's table of connections, as it was when it was read last.
///
/// To read it costs more than the start of a process where there are many connections, so it is read again only for
/// one that is not in it.
#[derive(Debug, Default)]
pub(super) struct Table(String);

impl Table {
    /// Whether a connection comes from a process of a group, as far as the system tells.
    ///
    /// True where the system does not tell (there is no `/proc`): then there is nothing to compare.
    pub(super) fn is_of_group(&mut self, peer: SocketAddr, own: SocketAddr, group: Pid) -> bool {
        let (SocketAddr::V4(peer), SocketAddr::V4(own)) = (peer, own) else { return false };
        let inode = match inode(&self.0, peer, own) {
            Some(inode) => Some(inode),
            None => {
                let Ok(table) = fs::read_to_string("/proc/net/tcp") else { return true };
                self.0 = table;
                inode(&self.0, peer, own)
            }
        };
        let Some(inode) = inode else { return false };
        let leader = group.as_raw_nonzero().get();
        holds(&Path::new("/proc").join(leader.to_string()), inode)
            || others(leader).any(|process| holds(&process, inode))
    }
}

/// The number of the socket with these ends, in the system's table of connections.
fn inode(table: &str, local: SocketAddrV4, remote: SocketAddrV4) -> Option<u64> {
    let (local, remote) = (written(local), written(remote));
    table
        .lines()
        .skip(1)
        .find_map(|line| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            let ends = fields.next()? == local && fields.next()? == remote;
            ends.then(|| fields.nth(6)?.parse().ok()).flatten()
        })
        // Of a connection that is over it is 0.
        .filter(|inode| *inode != 0)
}

/// An address as the table writes it: the four bytes as one number of the machine's own order.
fn written(address: SocketAddrV4) -> String {
    format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port())
}

/// The folders of all processes of a group.
fn others(group: i32) -> impl Iterator<Item = std::path::PathBuf> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    processes.filter(move |process| group_of(process) == Some(group))
}

fn group_of(process: &Path) -> Option<i32> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    // The name, in parentheses, may hold anything; the state, the parent and the group follow.
    stat.rsplit_once(") ")?.1.split(' ').nth(2)?.parse().ok()
}

fn holds(process: &Path, inode: u64) -> bool {
    let socket = format!("socket:[{inode}]");
    let files = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    files
        .filter_map(|file| fs::read_link(file.path()).ok())
        .any(|target| target.as_os_str() == socket.as_str())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_is_of_its_own_process_group_only() {
        if !Path::new("/proc/net/tcp").exists() {
            return crate::process::skipped(
                "a_connection_is_of_its_own_process_group_only",
                "there is no /proc/net/tcp",
            );
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, peer) = listener.accept().unwrap();
        let own = rustix::process::getpgrp();
        assert!(Table::default().is_of_group(peer, accepted.local_addr().unwrap(), own));
        let mut table = Table::default();
        assert!(!table.is_of_group(peer, accepted.local_addr().unwrap(), Pid::INIT));
        // One that came after the table was read is found all the same.
        let later = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, peer) = listener.accept().unwrap();
        assert!(table.is_of_group(peer, accepted.local_addr().unwrap(), own));
        drop(later);
        drop(client);
    }

    #[test]
    fn the_table_is_read_by_both_ends() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            \x20  0: 0100007F:9C41 0100007F:9C42 01 00000000:00000000 00:00000000 00000000  1000        0 4711 1 x\n";
        let at = |port| SocketAddrV4::new([127, 0, 0, 1].into(), port);
        let expected = cfg!(target_endian = "little").then_some(4711);
        assert_eq!(inode(table, at(0x9C41), at(0x9C42)), expected);
        assert_eq!(inode(table, at(0x9C42), at(0x9C41)), None);
    }
}
