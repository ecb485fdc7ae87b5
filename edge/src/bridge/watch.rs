//! The second connection of an edge that shares its client id: it reads who is active, and carries the last acks
//! of one that is not any more.

use std::time::{Duration, Instant};

use service::Error;

use crate::{
    config::Config,
    session::{Happening, Identity, Session, Will},
    standby::Standby,
};

/// The state of being one of two.
pub(super) struct Watch {
    session: Session,
    pub(super) standby: Standby,
    mqtt_topic: String,
    /// The log knows that another is active.
    standing_by: bool,
    trouble: Trouble,
}

/// Why the connection that reads is away, if it is.
#[derive(Debug, Default)]
struct Trouble {
    why: Option<String>,
    /// The broker does not want us.
    refused: bool,
}

impl Trouble {
    /// Keeps it; whether it is news.
    fn is(&mut self, why: &str, refused: bool) -> bool {
        self.refused = refused;
        let is_news = self.why.as_deref() != Some(why);
        self.why = Some(why.to_owned());
        is_news
    }
}

/// The retained message that names the active edge.
fn mqtt_topic(id: &str) -> String {
    format!("edge/{id}/active")
}

/// The connection that carries acks. An edge whose place another has taken still says what Kafka confirmed to it.
pub(super) fn for_acks<'a>(watch: &'a mut Option<Watch>, session: &'a mut Session) -> &'a mut Session {
    match watch {
        Some(watch) if watch.is_standing_by() => &mut watch.session,
        _ => session,
    }
}

/// What the connection that bridges is opened with.
pub(crate) fn identity(config: &Config) -> Identity {
    let will = Will { mqtt_topic: mqtt_topic(&config.id), payload: Vec::new(), retain: true };
    Identity::bridge(config.id.clone(), config.hot_standby.then_some(will))
}

impl Watch {
    /// None without `--hot-standby`.
    pub(super) fn new(config: &Config) -> Result<Option<Self>, Error> {
        if !config.hot_standby {
            return Ok(None);
        }
        let instance = uuid::Uuid::now_v7().to_string();
        let mqtt_topic = mqtt_topic(&config.id);
        let identity = Identity::observer(format!("{}.{instance}", config.id), mqtt_topic.clone());
        let session = Session::new(config, identity)?;
        let (standby, trouble) = (Standby::new(instance), Trouble::default());
        Ok(Some(Self { session, standby, mqtt_topic, standing_by: false, trouble }))
    }

    /// Does what can be done now.
    pub(super) fn advance(&mut self, now: Instant) {
        self.session.advance(now, true, true, true);
        while let Some(happening) = self.session.next(now, 0, true) {
            match happening {
                Happening::Publish { packet_id, entry } => {
                    if entry.mqtt_topic == self.mqtt_topic.as_bytes() {
                        self.standby.reads(&entry.payload, now);
                    }
                    if let Some(packet_id) = packet_id
                        && !self.session.puback(packet_id)
                    {
                        tracing::debug!("the observing connection ended before a PUBACK");
                    }
                }
                // The broker answers in order: what is retained came before this.
                Happening::Pong => {
                    self.standby.has_heard(now);
                    self.trouble = Trouble::default();
                }
                Happening::Subscribed => self.session.ping(),
                Happening::Lost(why) => self.away(&why, false),
                Happening::Refused(why) | Happening::Fatal(why) => self.away(&why, true),
                Happening::Connected { .. } | Happening::Puback { .. } | Happening::TakenOver => {}
            }
        }
        let other = self.standby.other().map(str::to_owned);
        if let Some(active) = &other
            && !self.standing_by
        {
            tracing::info!(active, "standing by: another edge is active");
        }
        self.standing_by = other.is_some();
        self.session.flush();
    }

    fn away(&mut self, why: &str, refused: bool) {
        // Each try may end with the same.
        if self.trouble.is(why, refused) {
            tracing::warn!(why, "the observing connection is away");
        } else {
            tracing::debug!(why, "the observing connection is away");
        }
        self.standby.deaf();
    }

    /// The connection that bridges is gone: the broker is asked who is active now.
    pub(super) fn lost(&mut self, now: Instant) {
        self.standby.lost(now);
        self.session.ping();
        self.session.flush();
    }

    /// Why nobody is observed, if that is so: without that the client id may not be used.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.why.as_deref()
    }

    /// That, where the broker does not want us.
    pub(super) fn refused(&self) -> Option<&str> {
        self.trouble().filter(|_| self.trouble.refused)
    }

    /// Another is active, and we know.
    pub(super) fn is_standing_by(&self) -> bool {
        self.standing_by
    }

    /// Whether commands are another's: it is active, or may be while we can't reach the broker.
    pub(super) fn leaves_commands(&self, now: Instant) -> bool {
        self.standing_by || self.standby.is_cut_off(now)
    }

    /// Says our name where it has to stand, on the connection that bridges.
    pub(super) fn say(&mut self, session: &mut Session, now: Instant) {
        if self.standby.must_say(now) {
            let name = self.standby.instance().as_bytes().to_vec();
            if session.retain(&self.mqtt_topic, name) {
                self.standby.said(now);
            }
        }
    }

    /// Says goodbye on the connection that reads, waiting at most until `deadline` for what it has to say.
    pub(super) fn disconnect(&mut self, deadline: Instant) -> bool {
        self.session.disconnect(deadline)
    }

    pub(super) fn wanted_at(&self, now: Instant) -> Instant {
        // Its socket wakes nobody: half the shortest pause of [`Standby`] is soon enough.
        let soon = now + Duration::from_millis(250);
        self.session.wanted_at(now, true).map_or(soon, |at| at.min(soon))
    }

    /// Takes our name back, so that the other need not wait for the will.
    pub(super) fn leave(&mut self, session: &mut Session) {
        if session.connected() && !session.retain(&self.mqtt_topic, Vec::new()) {
            tracing::debug!("no room for a farewell: the other edge waits for the will");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpListener,
    };

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        config: Config,
    }

    const SECOND: Duration = Duration::from_secs(1);

    /// CONNACK: the user name or the password is wrong.
    const REFUSAL: [u8; 5] = [0x20, 3, 0, 0x86, 0];

    /// Of an edge whose broker says this to whoever connects, and closes.
    fn watch_at_a_broker_that_says(words: &'static [u8]) -> Watch {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let broker = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            while let Ok((mut socket, _)) = listener.accept() {
                let greeted = socket.read(&mut [0; 1024]).unwrap() > 0;
                if greeted {
                    socket.write_all(words).unwrap();
                }
            }
        });
        let config = Cli::parse_from(["edge", "--hot-standby", "--mqtt", &broker]).config;
        Watch::new(&config).unwrap().unwrap()
    }

    fn until_trouble(watch: &mut Watch) -> String {
        let deadline = Instant::now() + Duration::from_secs(30);
        while watch.trouble().is_none() {
            assert!(Instant::now() < deadline, "no trouble");
            watch.advance(Instant::now());
            std::thread::sleep(Duration::from_millis(1));
        }
        watch.trouble().unwrap().to_owned()
    }

    #[test]
    fn why_nobody_is_observed_is_known() {
        let mut refused = watch_at_a_broker_that_says(&REFUSAL);
        let why = until_trouble(&mut refused);
        assert!(why.contains("BadUserNamePassword"), "{why}");
        assert_eq!(refused.refused(), Some(&*why));
        // One that is away is tried again.
        let mut silent = watch_at_a_broker_that_says(b"");
        let why = until_trouble(&mut silent);
        assert_eq!(silent.refused(), None, "{why}");
    }

    #[test]
    fn the_last_acks_of_a_standby_leave_before_it_does() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let broker = std::thread::spawn(move || {
            let (mut socket, mut bytes) = (listener.accept().unwrap().0, Vec::new());
            // CONNACK.
            socket.write_all(&[0x20, 3, 0, 0, 0]).unwrap();
            socket.read_to_end(&mut bytes).unwrap();
            bytes
        });
        let config = Cli::parse_from(["edge", "--hot-standby", "--mqtt", &address]).config;
        let mut session = Session::new(&config, identity(&config)).unwrap();
        let mut watch = Watch::new(&config).unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while !watch.as_ref().is_some_and(|watch| watch.session.connected()) {
            assert!(Instant::now() < deadline, "no connection");
            watch.as_mut().unwrap().advance(Instant::now());
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(!for_acks(&mut watch, &mut session).connected(), "nobody else is active: its own connection");
        watch.as_mut().unwrap().standing_by = true;
        assert!(for_acks(&mut watch, &mut session).publish("v1/veh-1/ack", b"[]".to_vec(), None));
        assert!(watch.as_mut().unwrap().disconnect(deadline));
        drop(watch);
        let bytes = broker.join().unwrap();
        assert!(bytes.windows(12).any(|bytes| bytes == b"v1/veh-1/ack") && bytes.ends_with(&[0xE0, 0]), "{bytes:x?}");
    }

    #[test]
    fn commands_are_left_where_another_is_active_or_may_be() {
        let now = Instant::now();
        let config = Cli::parse_from(["edge", "--hot-standby"]).config;
        let mut watch = Watch::new(&config).unwrap().unwrap();
        watch.standby.connected();
        assert!(!watch.leaves_commands(now + 60 * SECOND));
        watch.standby.lost(now);
        assert!(!watch.leaves_commands(now) && watch.leaves_commands(now + 60 * SECOND));
        watch.standby.connected();
        assert!(!watch.leaves_commands(now + 60 * SECOND));
        watch.standing_by = true;
        assert!(watch.leaves_commands(now));
    }

    #[test]
    fn a_trouble_is_news_where_it_differs_from_the_last() {
        let mut trouble = Trouble::default();
        let told = ["no route", "no route", "no password", "no route"].map(|why| trouble.is(why, false));
        assert_eq!(told, [true, false, true, true]);
    }
}
