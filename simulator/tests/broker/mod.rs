//! A mosquitto of its own for a test, on a free port.

use std::{
    fs::File,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Ports that are tried: each is free when it is chosen, and somebody may be faster.
const TRIES: u32 = 5;

/// A running broker, or only the address of one. Dropping it kills it.
pub(crate) struct Broker {
    port: u16,
    folder: tempfile::TempDir,
    process: Option<Child>,
}

impl Broker {
    /// An address that nobody listens on.
    pub(crate) fn nowhere() -> Self {
        Self { port: services::free_port().unwrap(), folder: tempfile::tempdir().unwrap(), process: None }
    }

    /// Starts one and waits until it listens.
    pub(crate) fn start() -> Self {
        Self::nowhere().started("allow_anonymous true")
    }

    /// One that lets in who has an account, by user name and password.
    pub(crate) fn with_accounts(accounts: &[(&str, &str)]) -> Self {
        let broker = Self::nowhere();
        let file = broker.folder.path().join("accounts");
        let lines: String = accounts.iter().map(|(user, password)| format!("{user}:{password}\n")).collect();
        std::fs::write(&file, lines).unwrap();
        assert!(Command::new("mosquitto_passwd").arg("-U").arg(&file).status().unwrap().success());
        // It reads the file as who it is, and as root it would become another.
        let name = String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout).unwrap();
        broker.started(&format!("allow_anonymous false\npassword_file {}\nuser {name}", file.display()))
    }

    fn started(mut self, access: &str) -> Self {
        for _ in 0..TRIES {
            let config = format!(
                "{access}\nlistener {} 127.0.0.1\npersistence false\nmax_inflight_messages 100\n\
                 max_queued_messages 0\nset_tcp_nodelay true\nuse_username_as_clientid true\n\
                 log_dest stderr\nlog_type information\nlog_type error\n",
                self.port,
            );
            std::fs::write(self.folder.path().join("mosquitto.conf"), config).unwrap();
            if self.run() {
                return self;
            }
            self.port = services::free_port().unwrap();
        }
        panic!("mosquitto ended at once, on each of {TRIES} ports: {}", self.log());
    }

    /// `HOST:PORT`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// SIGKILL, and a new one that knows nothing of the old one's sessions.
    pub(crate) fn kill_and_restart(&mut self) {
        self.kill();
        assert!(self.run(), "somebody else listens on port {} now", self.port);
    }

    /// SIGSTOP: connections stand, and nothing is answered any more.
    pub(crate) fn freeze(&self) {
        let id = self.process.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args(["-STOP", &id]).status().unwrap().success());
    }

    /// False where it ended at once: somebody else listens on its port, who would answer in its place.
    fn run(&mut self) -> bool {
        let program = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"].into_iter();
        let program = program.filter(|path| std::path::Path::new(path).exists()).chain(["mosquitto"]).next().unwrap();
        let log = File::create(self.folder.path().join("mosquitto.log")).unwrap();
        let process = Command::new(program)
            .arg("-c")
            .arg(self.folder.path().join("mosquitto.conf"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("make deps installs mosquitto");
        self.process = Some(process);
        let until = Instant::now() + Duration::from_secs(30);
        while self.process.as_mut().unwrap().try_wait().unwrap().is_none() {
            // Its own word: whoever connects learns only that somebody listens.
            if self.log().contains("running") {
                return true;
            }
            assert!(Instant::now() < until, "mosquitto does not listen on port {}: {}", self.port, self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("mosquitto.log")).unwrap()
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().ok();
            process.wait().ok();
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

#[test]
fn a_broker_whose_port_somebody_else_took_moves_to_another() {
    let mut broker = Broker::nowhere();
    let _somebody = std::net::TcpListener::bind(broker.address()).unwrap();
    let taken = broker.port();
    assert!(!broker.run(), "{}", broker.log());
    let broker = broker.started("allow_anonymous true");
    assert_ne!(broker.port(), taken);
}
