//! Every fault against a server that sends back what it gets, and counts it.

use std::{io, time::Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::poll;

/// What takes longer will never come.
const SOON: Duration = Duration::from_secs(10);
/// What has not come by then does not come.
const A_WHILE: Duration = Duration::from_millis(150);

struct Echo {
    address: SocketAddr,
    got: Arc<AtomicU64>,
    ends: Arc<AtomicU64>,
}

async fn echo() -> Echo {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (got, ends) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (seen, ended) = (Arc::clone(&got), Arc::clone(&ends));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (seen, ended) = (Arc::clone(&seen), Arc::clone(&ended));
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                    seen.fetch_add(count as u64, Ordering::SeqCst);
                    if stream.write_all(&buffer[..count]).await.is_err() {
                        break;
                    }
                }
                ended.fetch_add(1, Ordering::SeqCst);
            });
        }
    });
    Echo { address, got, ends }
}

async fn connect(link: &Link) -> TcpStream {
    TcpStream::connect(link.address()).await.unwrap()
}

async fn say(stream: &mut TcpStream, word: &[u8]) {
    stream.write_all(word).await.unwrap();
}

/// What comes back, at most so many bytes.
async fn hear(stream: &mut TcpStream, count: usize) -> io::Result<Vec<u8>> {
    let mut heard = vec![0; count];
    tokio::time::timeout(SOON, stream.read_exact(&mut heard)).await.expect("an answer in time")?;
    Ok(heard)
}

async fn hears_nothing(stream: &mut TcpStream) {
    let mut heard = [0];
    let nothing = tokio::time::timeout(A_WHILE, stream.read(&mut heard)).await;
    assert!(nothing.is_err(), "{nothing:?}");
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    poll::until(what, SOON, async || Ok(holds().then_some(()))).await.unwrap();
}

async fn works(link: &Link) {
    let mut stream = connect(link).await;
    say(&mut stream, b"hello").await;
    assert_eq!(hear(&mut stream, 5).await.unwrap(), b"hello");
}

#[tokio::test]
async fn a_link_without_a_fault_changes_nothing_and_counts_no_loss() {
    let echo = echo().await;
    let link = Link::to(echo.address).await.unwrap();
    let mut stream = connect(&link).await;
    // More than all buffers hold, so that both directions wait for each other.
    let sent: Vec<u8> = (0..4_000_000_u32).map(|n| (n % 251) as u8).collect();
    let (mut from, mut to) = stream.split();
    let mut came = Vec::new();
    let talk = async {
        tokio::join!(
            async {
                to.write_all(&sent).await.unwrap();
                to.shutdown().await.unwrap();
            },
            async { from.read_to_end(&mut came).await.unwrap() }
        )
    };
    tokio::time::timeout(SOON, talk).await.unwrap();
    assert!(came == sent, "{} bytes came back", came.len());
    let whole = sent.len() as u64;
    assert_eq!(link.counts(), Counts { connections: 1, passed: [whole, whole], lost: [0, 0], resets: 0 });
}

#[tokio::test]
async fn a_cut_link_throws_out_and_refuses_and_is_mended_on_the_same_port() {
    let echo = echo().await;
    let link = Link::to(echo.address).await.unwrap();
    let mut stream = connect(&link).await;
    say(&mut stream, b"a").await;
    hear(&mut stream, 1).await.unwrap();
    link.set(Condition::CUT);
    assert!(hear(&mut stream, 1).await.is_err(), "the end");
    until("the server hears of the end", || echo.ends.load(Ordering::SeqCst) == 1).await;
    let refused = poll::until("refused", SOON, async || {
        Ok(TcpStream::connect(link.address()).await.err().map(|error| error.kind()))
    });
    assert_eq!(refused.await.unwrap(), io::ErrorKind::ConnectionRefused);
    link.set(Condition::WELL);
    let again = poll::until("let in", SOON, async || Ok(TcpStream::connect(link.address()).await.ok())).await;
    let mut stream = again.unwrap();
    say(&mut stream, b"b").await;
    assert_eq!(hear(&mut stream, 1).await.unwrap(), b"b");
}

#[tokio::test]
async fn a_link_to_nobody_throws_out() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for link in [Link::nowhere().await.unwrap(), Link::to(nobody).await.unwrap()] {
        assert!(hear(&mut connect(&link).await, 1).await.is_err());
    }
}

#[tokio::test]
async fn half_open_keeps_everybody_and_answers_nobody_and_resets_them_when_it_is_mended() {
    let echo = echo().await;
    let link = Link::to(echo.address).await.unwrap();
    let (mut talks, mut idle) = (connect(&link).await, connect(&link).await);
    for stream in [&mut talks, &mut idle] {
        say(stream, b"a").await;
        hear(stream, 1).await.unwrap();
    }
    link.set(Condition::HALF_OPEN);
    say(&mut talks, b"lost").await;
    hears_nothing(&mut talks).await;
    let mut late = connect(&link).await;
    say(&mut late, b"late").await;
    hears_nothing(&mut late).await;
    assert_eq!((echo.got.load(Ordering::SeqCst), link.counts().lost), (2, [4, 0]));
    link.set(Condition::WELL);
    let error = hear(&mut talks, 1).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    // It has lost nothing.
    say(&mut idle, b"b").await;
    assert_eq!(hear(&mut idle, 1).await.unwrap(), b"b");
    assert_eq!(hear(&mut late, 4).await.unwrap(), b"late");
    assert_eq!(link.counts().resets, 1);
}

#[tokio::test]
async fn one_way_swallowed_the_other_still_speaks() {
    let echo = echo().await;
    let link = Link::to(echo.address).await.unwrap();
    let mut stream = connect(&link).await;
    link.set(Condition::WELL.with(Way::Down, Flow::Swallowed));
    say(&mut stream, b"up").await;
    until("it arrives", || echo.got.load(Ordering::SeqCst) == 2).await;
    hears_nothing(&mut stream).await;
    until("the answer is lost", || link.counts().lost == [0, 2]).await;
    assert_eq!(link.counts().passed, [2, 0]);
    say(&mut stream, b"more").await;
    until("so does what comes later", || echo.got.load(Ordering::SeqCst) == 6).await;
    link.set(Condition::WELL);
    hear(&mut stream, 1).await.unwrap_err();
    assert_eq!(link.counts().resets, 1, "behind the gap nothing can come");
}

#[tokio::test]
async fn what_is_held_comes_later_and_in_order_and_the_sender_is_held_up() {
    let echo = echo().await;
    let link = Link::to(echo.address).await.unwrap();
    let mut stream = connect(&link).await;
    link.set(Condition::WELL.with(Way::Up, Flow::Held));
    say(&mut stream, b"one").await;
    say(&mut stream, b"two").await;
    hears_nothing(&mut stream).await;
    // Bounded here; the rest waits in the kernel, and then the sender does.
    let endless = async {
        loop {
            stream.write_all(&[7; 65_536]).await.unwrap();
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(1), endless).await.is_err());
    assert_eq!((echo.got.load(Ordering::SeqCst), link.counts()), (0, Counts { connections: 1, ..Counts::default() }));
    link.set(Condition::WELL);
    assert_eq!(hear(&mut stream, 9).await.unwrap(), b"onetwo\x07\x07\x07");
}

#[tokio::test]
async fn a_forgotten_connection_is_dead_on_both_sides_and_new_ones_work() {
    let echo = echo().await;
    let link = Link::to(echo.address).await.unwrap();
    let mut stream = connect(&link).await;
    say(&mut stream, b"a").await;
    hear(&mut stream, 1).await.unwrap();
    link.forget_connections();
    say(&mut stream, b"lost").await;
    hears_nothing(&mut stream).await;
    works(&link).await;
    until("the other one has ended", || echo.ends.load(Ordering::SeqCst) == 1).await;
    drop(stream);
    until("the dead one's bytes are counted", || link.counts().lost == [4, 0]).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(echo.ends.load(Ordering::SeqCst), 1, "the server still waits for the dead one");
}

#[tokio::test]
async fn a_slow_line_takes_its_time_and_is_shared() {
    let echo = echo().await;
    let link = Link::to(echo.address).await.unwrap();
    let (rate, delay) = (20_000, Duration::from_millis(100));
    link.set(Condition::WELL.with(Way::Up, Flow::Slow { bytes_per_second: rate, delay }));
    let began = Instant::now();
    let mut streams = [connect(&link).await, connect(&link).await];
    for stream in &mut streams {
        say(stream, &[1; 5_000]).await;
    }
    for stream in &mut streams {
        hear(stream, 5_000).await.unwrap();
    }
    // 10,000 bytes of both, and the way.
    assert!(began.elapsed() >= delay + Duration::from_millis(490), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_reset_comes_after_so_many_bytes_and_only_once() {
    let echo = echo().await;
    let link = Link::to(echo.address).await.unwrap();
    let mut stream = connect(&link).await;
    link.reset_after(Way::Up, 6);
    say(&mut stream, b"1234").await;
    assert_eq!(hear(&mut stream, 4).await.unwrap(), b"1234");
    say(&mut stream, b"5678").await;
    let error = hear(&mut stream, 3).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    until("six bytes arrived", || echo.got.load(Ordering::SeqCst) == 6).await;
    assert_eq!((link.counts().passed[0], link.counts().resets), (6, 1));
    works(&link).await;
    assert_eq!(link.counts().resets, 1);
}
