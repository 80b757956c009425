//! Users and groups of an image, read from its own /etc/passwd and /etc/group, never from the host's.
//!
//! As containerd and runc resolve them: a number needs no entry (group 0, home /), a name does.

use std::path::{Path, PathBuf};

use crate::engine::{Error, Result};
use crate::images::tree::Tree;
use crate::state::ImageUser;

const FILE_SIZE_MAX: u64 = 4 << 20;
/// The largest user or group (moby/sys/user: maxID). What lies above, a system call or a 32-bit program takes
/// for another one; 4294967295 is -1 to setresuid(2), which then changes nothing.
pub const ID_MAX: u32 = i32::MAX as u32;
/// NGROUPS_MAX of the kernel.
const GROUPS_MAX: usize = 65_536;
/// Of a name in an error.
const SHOWN_MAX: usize = 64;

/// `user` is empty (root), `1000`, `www-data`, `1000:1000`, `www-data:adm`.
pub fn look_up(layers: &[PathBuf], user: &str) -> Result<ImageUser> {
    let context = |e: std::io::Error| Error::Failed(format!("reading the image's users: {e}"));
    let tree = Tree::open(layers).map_err(context)?;
    let text = |path: &str| -> Result<String> {
        let content = tree.read(Path::new(path), FILE_SIZE_MAX + 1).map_err(context)?.unwrap_or_default();
        if content.len() as u64 > FILE_SIZE_MAX {
            return Err(Error::Start(format!("the image's {path} is larger than {FILE_SIZE_MAX} bytes")));
        }
        Ok(String::from_utf8_lossy(&content).into_owned())
    };
    resolve(user, &text("/etc/passwd")?, &text("/etc/group")?)
}

fn resolve(user: &str, passwd: &str, group: &str) -> Result<ImageUser> {
    let (name, wanted_group) = match user.split_once(':') {
        Some((name, group)) => (name, Some(group).filter(|g| !g.is_empty())),
        None => (user, None),
    };
    let name = if name.is_empty() { "0" } else { name };
    let number = number_of("user", name)?;
    let entry = users(passwd).find(|entry| match number {
        Some(number) => entry.uid == number,
        None => entry.name == name,
    });
    let (uid, mut gid, home, known_as) = match (entry, number) {
        (Some(entry), _) => (entry.uid, entry.gid, entry.home, entry.name),
        (None, Some(number)) => (number, 0, "/", ""),
        (None, None) => {
            return Err(Error::Start(format!(
                "unable to find user {}: no matching entries in passwd file",
                shown(name)
            )));
        }
    };
    if let Some(wanted) = wanted_group {
        let found = groups(group).find(|g| g.name == wanted).map(|g| g.gid);
        gid = number_of("group", wanted)?.or(found).ok_or_else(|| {
            Error::Start(format!("unable to find group {}: no matching entries in group file", shown(wanted)))
        })?;
    }
    let member = |g: &Group<'_>| !known_as.is_empty() && g.members.split(',').any(|m| m == known_as);
    let groups: Vec<u32> = groups(group).filter(member).map(|g| g.gid).collect();
    if groups.len() > GROUPS_MAX {
        let name = shown(name);
        return Err(Error::Start(format!("user {name} is in more than {GROUPS_MAX} groups of the image's /etc/group")));
    }
    in_range("user", uid)?;
    for gid in groups.iter().chain([&gid]) {
        in_range("group", *gid)?;
    }
    let home = PathBuf::from(if home.is_empty() { "/" } else { home });
    Ok(ImageUser { uid, gid, groups, numeric: number.is_some(), home })
}

/// What Go's Atoi takes for a number, without negative ones: those are names (containerd oci.WithUser).
fn number_of(what: &str, text: &str) -> Result<Option<u32>> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    match digits.parse() {
        Ok(number) => in_range(what, number).map(|()| Some(number)),
        Err(_) => Err(out_of_range(what, &shown(text))),
    }
}

fn in_range(what: &str, id: u32) -> Result<()> {
    if id <= ID_MAX { Ok(()) } else { Err(out_of_range(what, &id.to_string())) }
}

fn out_of_range(what: &str, id: &str) -> Error {
    Error::Start(format!("{what} number {id} is out of range: uids and gids must be in range 0-{ID_MAX}"))
}

fn shown(name: &str) -> String {
    match name.len() > SHOWN_MAX {
        true => format!("{}…", &name[..name.floor_char_boundary(SHOWN_MAX)]),
        false => name.to_owned(),
    }
}

struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

fn users(passwd: &str) -> impl Iterator<Item = User<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let (name, uid, gid) = (fields.next()?, fields.nth(1)?, fields.next()?);
        Some(User { name, uid: uid.parse().ok()?, gid: gid.parse().ok()?, home: fields.nth(1).unwrap_or("") })
    })
}

fn groups(group: &str) -> impl Iterator<Item = Group<'_>> {
    group.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let (name, gid) = (fields.next()?, fields.nth(1)?);
        Some(Group { name, gid: gid.parse().ok()?, members: fields.next().unwrap_or("") })
    })
}

#[cfg(test)]
mod tests;
