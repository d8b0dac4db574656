//! Just enough of netlink to configure a network namespace: requests with nested attributes, and their
//! acknowledgements.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with,
};

const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLMSG_ERROR: u16 = 2;
const NLA_F_NESTED: u16 = 0x8000;
const HEADER: usize = 16;

/// Answers are acknowledgements, which repeat the request's header.
const ANSWER_BYTES_MAX: usize = 8 * 1024;

/// The kernel lists in pieces of at most this.
const DUMP_BYTES_MAX: usize = 32 * 1024;

/// One message, or several in a row.
#[derive(Debug, Default)]
pub struct Request {
    bytes: Vec<u8>,
    begin: usize,
}

impl Request {
    /// Begins a message; `body` is the fixed part after the header. The message before ends here.
    pub fn message(&mut self, kind: u16, flags: u16, body: &[u8]) -> &mut Request {
        self.begin = self.bytes.len();
        self.bytes.extend(0_u32.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((flags | NLM_F_REQUEST).to_ne_bytes());
        self.bytes.extend((self.begin as u32).to_ne_bytes());
        self.bytes.extend(0_u32.to_ne_bytes());
        self.bytes.extend(body);
        self.close()
    }

    pub fn attribute(&mut self, kind: u16, value: &[u8]) -> &mut Request {
        self.bytes.extend((value.len() as u16 + 4).to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        self.close()
    }

    /// An attribute that holds what `inside` adds.
    pub fn nest(&mut self, kind: u16, inside: impl FnOnce(&mut Request)) -> &mut Request {
        let begin = self.bytes.len();
        self.bytes.extend([0; 2]);
        self.bytes.extend((kind | NLA_F_NESTED).to_ne_bytes());
        inside(self);
        let length = (self.bytes.len() - begin) as u16;
        self.write_at(begin, &length.to_ne_bytes());
        self.close()
    }

    /// Bytes without a header of their own, as some attributes begin with.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Request {
        self.bytes.extend(bytes);
        self.close()
    }

    fn close(&mut self) -> &mut Request {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        let length = (self.bytes.len() - self.begin) as u32;
        self.write_at(self.begin, &length.to_ne_bytes());
        self
    }

    fn write_at(&mut self, at: usize, value: &[u8]) {
        if let Some(place) = self.bytes.get_mut(at..at + value.len()) {
            place.copy_from_slice(value);
        }
    }
}

#[derive(Debug)]
pub struct Socket(OwnedFd);

impl Socket {
    /// `None` for NETLINK_ROUTE. It works on the network namespace in which it was opened.
    pub fn open(protocol: Option<Protocol>) -> io::Result<Socket> {
        Socket::listening(protocol, 0)
    }

    /// One that hears what is told to these groups.
    pub fn listening(protocol: Option<Protocol>, groups: u32) -> io::Result<Socket> {
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        bind(&socket, &SocketAddrNetlink::new(0, groups))?;
        Ok(Socket(socket))
    }

    /// The next messages, if there are any now.
    pub fn receive(&self) -> io::Result<Option<Vec<u8>>> {
        let mut answer = vec![0; DUMP_BYTES_MAX];
        match rustix::io::retry_on_intr(|| recv(&self.0, &mut answer[..], RecvFlags::DONTWAIT)) {
            Ok((length, _)) => {
                answer.truncate(length);
                Ok(Some(answer))
            }
            Err(rustix::io::Errno::AGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends one message and waits until the kernel has done it, or says why it has not.
    pub fn ask(&self, request: &mut Request) -> io::Result<()> {
        let begin = request.begin;
        let flags = request.bytes.get(begin + 6..begin + 8).and_then(|flags| flags.try_into().ok());
        let flags = flags.map_or(0, u16::from_ne_bytes) | NLM_F_ACK;
        request.write_at(begin + 6, &flags.to_ne_bytes());
        self.send(request)?;
        self.acknowledged()
    }

    pub fn send(&self, request: &Request) -> io::Result<()> {
        send(&self.0, &request.bytes, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Waits for the next acknowledgement.
    pub fn acknowledged(&self) -> io::Result<()> {
        let mut answer = [0; ANSWER_BYTES_MAX];
        let (length, _) = rustix::io::retry_on_intr(|| recv(&self.0, &mut answer[..], RecvFlags::empty()))?;
        let answer = answer.get(..length).unwrap_or_default();
        let kind = answer.get(4..6).and_then(|kind| kind.try_into().ok()).map(u16::from_ne_bytes);
        let errno = answer.get(HEADER..HEADER + 4).and_then(|errno| errno.try_into().ok()).map(i32::from_ne_bytes);
        match (kind, errno) {
            (Some(NLMSG_ERROR), Some(0)) => Ok(()),
            (Some(NLMSG_ERROR), Some(errno)) => Err(io::Error::from_raw_os_error(-errno)),
            _ => Err(io::Error::other("netlink answered something else than asked")),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The messages of an answer. What makes no sense ends them.
pub fn messages(answer: &[u8]) -> impl Iterator<Item = &[u8]> {
    parts(answer, |bytes| usize::try_from(u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?)).ok())
}

/// What an attribute holds, by its kind, after the fixed part of a message or within another attribute.
pub fn attribute(within: &[u8], wanted: u16) -> Option<&[u8]> {
    const FLAGS: u16 = 0xc000;
    let length = |bytes: &[u8]| Some(usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?)));
    let kind = |part: &[u8]| Some(u16::from_ne_bytes(part.get(2..4)?.try_into().ok()?) & !FLAGS);
    parts(within, length).find(|part| kind(part) == Some(wanted))?.get(4..)
}

/// Each begins with its length, at a multiple of four.
fn parts(mut bytes: &[u8], length: fn(&[u8]) -> Option<usize>) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = length(bytes)?;
        let part = bytes.get(..length).filter(|part| part.len() >= 4)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(part)
    })
}

/// What kind of message it is.
pub fn kind(message: &[u8]) -> Option<u16> {
    Some(u16::from_ne_bytes(message.get(4..6)?.try_into().ok()?))
}

const RTM_NEWLINK: u16 = 16;

/// `struct ifinfomsg`, bringing an interface up.
pub fn up(index: i32) -> [u8; 16] {
    const IFF_UP: u32 = 1;
    let mut body = [0; 16];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    body[8..12].copy_from_slice(&IFF_UP.to_ne_bytes());
    body[12..16].copy_from_slice(&IFF_UP.to_ne_bytes());
    body
}

/// Brings up the loopback of a namespace, which is its first interface.
pub fn loopback_up() -> io::Result<()> {
    let mut request = Request::default();
    request.message(RTM_NEWLINK, 0, &up(1));
    Socket::open(None)?.ask(&mut request)
}
