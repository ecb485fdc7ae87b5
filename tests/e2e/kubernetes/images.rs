//! What can be checked of the Dockerfiles without a container engine.

use std::collections::BTreeMap;

use cargo_metadata::{Metadata, MetadataCommand};

use super::{
    flags::IMAGES,
    render::{read, root},
};

/// One `FROM … AS …` and its instructions.
#[derive(Debug, Default)]
struct Stage {
    base: String,
    instructions: Vec<(String, String)>,
}

impl Stage {
    fn all<'a>(&'a self, instruction: &'a str) -> impl Iterator<Item = &'a str> {
        self.instructions.iter().filter(move |(name, _)| name == instruction).map(|(_, rest)| rest.as_str())
    }
}

/// Stages by name. Comments go, continued lines are joined.
fn stages(dockerfile: &str) -> BTreeMap<String, Stage> {
    let text = read(dockerfile);
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let mut stages = BTreeMap::new();
    let mut current = String::new();
    for line in lines.join("\n").replace("\\\n", " ").lines().filter(|line| !line.trim().is_empty()) {
        let (instruction, rest) = line.split_once(' ').unwrap();
        if instruction == "FROM" {
            let (base, its_name) = rest.split_once(" AS ").expect("every stage has a name");
            current = its_name.to_owned();
            stages.insert(current.clone(), Stage { base: base.to_owned(), ..Stage::default() });
        } else {
            let stage: &mut Stage = stages.get_mut(&current).expect("FROM comes first");
            stage.instructions.push((instruction.to_owned(), rest.to_owned()));
        }
    }
    stages
}

fn metadata() -> Metadata {
    MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec().unwrap()
}

/// A path that `.dockerignore` lets into the build.
fn reaches_the_build(source: &str) -> bool {
    let ignore = read(".dockerignore");
    let mut lines = ignore.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(lines.next(), Some("*"), "everything is left out at first");
    lines
        .map(|line| line.strip_prefix('!').unwrap())
        .any(|let_in| source == let_in || source.starts_with(&format!("{let_in}/")))
}

const FILES: [&str; 2] = ["k8s/Dockerfile.edge", "k8s/Dockerfile.motorcade"];

#[test]
fn images_are_built_with_the_pinned_compiler_from_files_that_exist() {
    let toolchain = read("rust-toolchain.toml");
    let channel = toolchain.split('"').nth(1).unwrap();
    let metadata = metadata();
    let members: Vec<_> = metadata
        .workspace_packages()
        .into_iter()
        .map(|package| package.manifest_path.strip_prefix(metadata.workspace_root.as_str()).unwrap().to_string())
        .collect();
    for file in FILES {
        let stages = stages(file);
        for (its_name, stage) in &stages {
            let base = stage.base.as_str();
            let pinned = [format!("rust:{channel}-bookworm"), "debian:bookworm-slim".to_owned()];
            assert!(
                pinned.iter().any(|pinned| pinned == base) || stages.contains_key(base),
                "{file}: {its_name}: {base}"
            );
            for copy in stage.all("COPY").filter(|copy| !copy.starts_with("--")) {
                let mut paths: Vec<_> = copy.split_whitespace().collect();
                paths.pop();
                for source in paths {
                    assert!(reaches_the_build(source), "{file}: .dockerignore leaves {source} out");
                    // `make deps` makes what is below .deps.
                    assert!(source.starts_with(".deps/") || root().join(source).exists(), "{file}: no {source}");
                }
            }
        }
        let build = &stages["build"];
        assert!(build.all("ENV").any(|env| env == format!("RUSTUP_TOOLCHAIN={channel}")), "{file}: other toolchain");
        let copied: Vec<_> = build.all("COPY").flat_map(str::split_whitespace).collect();
        for member in &members {
            let folder = member.split('/').next().unwrap();
            assert!(copied.contains(&folder), "{file}: workspace member {member} is not copied");
        }
        assert!(
            copied.contains(&"Cargo.lock")
                && build.all("RUN").any(|run| run.contains("cargo build --locked --release"))
        );
    }
    // The libtorch of the image lies where cargo and then the loader look for it.
    let stages = stages("k8s/Dockerfile.motorcade");
    assert!(read(".cargo/config.toml").contains("LIBTORCH = { value = \".deps/libtorch\""));
    assert!(stages["build"].all("COPY").any(|copy| copy == ".deps/libtorch .deps/libtorch"));
    let library_path = stages["motorcade"].all("ENV").find_map(|env| env.strip_prefix("LD_LIBRARY_PATH=")).unwrap();
    assert!(stages["motorcade"].all("COPY").any(|copy| copy == format!(".deps/libtorch/lib {library_path}")));
}

#[test]
fn every_image_starts_its_executable_as_nobody() {
    let metadata = metadata();
    let executables: BTreeMap<_, _> = metadata
        .workspace_packages()
        .into_iter()
        .flat_map(|package| {
            package.targets.iter().filter(|target| target.is_bin()).map(|target| (&target.name, &package.name))
        })
        .collect();
    let readme = read("k8s/README.md");
    let version = metadata.workspace_packages()[0].version.to_string();
    let base = read("k8s/base/kustomization.yaml");
    let mut made = Vec::new();
    for line in readme.lines().filter(|line| line.starts_with("docker build ")) {
        let words: Vec<_> = line.split_whitespace().collect();
        let after = |flag: &str| words[words.iter().position(|word| *word == flag).unwrap() + 1];
        let (file, target, (image, tag)) = (after("-f"), after("--target"), after("-t").split_once(':').unwrap());
        assert_eq!(tag, version, "{line}");
        assert!(
            base.contains(&format!("name: {image}\n    newTag: {version}\n")),
            "{image} of the base is not {version}"
        );
        let stages = stages(file);
        let stage = &stages[target];
        let lineage: Vec<_> = std::iter::successors(Some(stage), |stage| stages.get(&stage.base)).collect();
        let user = lineage.iter().find_map(|stage| stage.all("USER").last()).expect("a USER");
        assert!(user.split(':').all(|id| id.parse::<u32>().is_ok_and(|id| id > 0)), "{target}: USER {user}");
        let entry: Vec<String> = serde_json::from_str(stage.all("ENTRYPOINT").last().unwrap()).unwrap();
        let [entry] = &entry[..] else { panic!("{target}: ENTRYPOINT {entry:?}") };
        let program = entry.rsplit('/').next().unwrap();
        assert!(IMAGES.contains(&(image, program)), "{image} starts {program}");
        assert!(
            stage.all("COPY").any(|copy| copy == format!("--from=build /out/{program} {entry}")),
            "{target}: {entry}"
        );
        let package = executables.get(&program.to_owned()).unwrap_or_else(|| panic!("no executable {program}"));
        let run = stages["build"].all("RUN").collect::<String>();
        assert!(
            run.split_whitespace()
                .collect::<Vec<_>>()
                .windows(2)
                .any(|pair| pair[0] == "-p" && pair[1] == package.as_str())
        );
        assert!(run.contains(&format!("target/release/{program}")), "{target}: {program} is not kept");
        made.push(image.to_owned());
    }
    made.sort_unstable();
    let mut wanted: Vec<_> = IMAGES.iter().map(|(image, _)| (*image).to_owned()).collect();
    wanted.sort_unstable();
    assert_eq!(made, wanted, "the README builds every image");
}
