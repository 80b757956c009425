//! Users and groups of an image, read from its own /etc/passwd and /etc/group, never from the host's.
//!
//! As containerd and runc resolve them: a number needs no entry (group 0, home /), a name does.

use std::path::{Path, PathBuf};

use crate::engine::{Error, Result};
use crate::images::tree::Tree;
use crate::state::ImageUser;

const FILE_SIZE_MAX: u64 = 4 << 20;

/// `user` is empty (root), `1000`, `www-data`, `1000:1000`, `www-data:adm`.
pub fn look_up(layers: &[PathBuf], user: &str) -> Result<ImageUser> {
    let context = |e: std::io::Error| Error::Failed(format!("reading the image's users: {e}"));
    let tree = Tree::open(layers).map_err(context)?;
    let text = |path: &str| -> Result<String> {
        let content = tree.read(Path::new(path), FILE_SIZE_MAX).map_err(context)?.unwrap_or_default();
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
    let number = name.parse::<u32>().ok();
    if number.is_none() && name.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Error::Start(format!("user number {name} is out of range")));
    }
    let entry = users(passwd).find(|entry| match number {
        Some(number) => entry.uid == number,
        None => entry.name == name,
    });
    let (uid, mut gid, home, known_as) = match (entry, number) {
        (Some(entry), _) => (entry.uid, entry.gid, entry.home, entry.name),
        (None, Some(number)) => (number, 0, "/", ""),
        (None, None) => {
            return Err(Error::Start(format!("unable to find user {name}: no matching entries in passwd file")));
        }
    };
    if let Some(wanted) = wanted_group {
        let found = groups(group).find(|g| g.name == wanted).map(|g| g.gid);
        gid =
            wanted.parse().ok().or(found).ok_or_else(|| {
                Error::Start(format!("unable to find group {wanted}: no matching entries in group file"))
            })?;
    }
    let member = |g: &Group<'_>| !known_as.is_empty() && g.members.split(',').any(|m| m == known_as);
    let groups = groups(group).filter(member).map(|g| g.gid).collect();
    let home = PathBuf::from(if home.is_empty() { "/" } else { home });
    Ok(ImageUser { uid, gid, groups, numeric: number.is_some(), home })
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
