//! Pods from Debian's own software: they serve, restart, and end cleanly by their own stop signal.

use serde_json::Value;

use crate::packed::layout::{PLAIN, Start};
use crate::packed::{installed, pack};
use crate::stage::{Instance, Lines, Output, Stage, play};

const GOUSSE: &str = env!("CARGO_BIN_EXE_gousse");
const NGINX: &[&str] = &["nginx", "nginx-common"];
const LAMP: &[&str] = &[
    "apache2-bin",
    "libapache2-mod-php8.2",
    "php8.2-common",
    "php8.2-mysql",
    "mariadb-common",
    "mariadb-server",
    "mariadb-server-core",
    "mariadb-client",
    "mariadb-client-core",
    "dash",
    "coreutils",
    "sed",
    "grep",
];

#[test]
fn nginx_serves_a_page_and_ends_by_its_stop_signal() {
    if !installed("nginx_serves_a_page", NGINX) {
        return;
    }
    play(|stage: &Stage| {
        let own = stage.instance("own");
        let up = own.up(&[]);
        let start =
            Start { cmd: &["nginx", "-g", "daemon off; error_log stderr notice;"], stop_signal: "SIGQUIT", ..PLAIN };
        let layout = pack(&stage.folder, "nginx", NGINX, &["root", "www-data"], start);
        // As `docker save` writes it.
        load(&own, &layout, "manifest.json");
        assert!(own.apply(NGINX_POD).ok);
        own.must("wait --for=condition=Ready pod/web --timeout=60s");
        assert!(page(&own, "GET", "/", "").ends_with("<h1>From a configMap</h1>\n"));
        let put = page(&own, "PUT", "/upload/kept", "kept in an emptyDir");
        assert!(put.starts_with("HTTP/1.1 201 "), "{put}");

        // It ends by itself, and is started again once, over the same emptyDir.
        make_end(&own, "exec web -- nginx -s quit");
        own.must("wait --for=jsonpath={.status.containerStatuses[0].restartCount}=1 --timeout=60s pod/web");
        own.must("wait --for=condition=Ready pod/web --timeout=60s");
        assert_eq!(last_code(&own, "web", "web"), Some(0));
        assert!(page(&own, "GET", "/upload/kept", "").ends_with("kept in an emptyDir"));

        let ended = delete(&own, "web", "web", "signal 3 (SIGQUIT) received");
        assert_eq!(ended, [("web".to_string(), 0)]);
        own.down(true);
        assert!(up.end().ok);
        assert_eq!(stage.left(), Vec::<String>::new());
    });
}

#[test]
fn a_page_made_from_a_database_row_survives_the_databases_restart() {
    if !installed("a_page_made_from_a_database_row", LAMP) {
        return;
    }
    play(|stage: &Stage| {
        let own = stage.instance("own");
        let up = own.up(&[]);
        // One image for the three containers; each says what it runs and how it is stopped.
        let layout = pack(&stage.folder, "lamp", LAMP, &["root", "www-data", "mysql"], PLAIN);
        let refused = own.command("image load").arg(&layout).output_now();
        assert!(!refused.ok && refused.err.contains("is a folder"), "{refused:?}");
        load(&own, &layout, "index.json");
        let applied = own.apply(LAMP_POD);
        assert!(applied.ok, "{applied:?}");
        let wait = "wait --for=condition=Ready pod/web --timeout=60s";
        let ready = own.gousse(wait);
        assert!(ready.ok, "{}", story(&own));
        let visits = || {
            let page = page(&own, "GET", "/", "");
            let count = page.split("visit ").nth(1).and_then(|rest| rest.split('<').next()?.parse::<u32>().ok());
            assert!(page.contains("<h1>From a database row</h1>"), "{page}");
            count.unwrap_or_else(|| panic!("{page}"))
        };
        let before = visits();
        assert!(visits() > before, "each visit is a row");
        let before = visits();
        // The database ends by itself and is started again; the rows are in the emptyDir.
        make_end(&own, "exec web -c database -- sh -c 'kill -TERM 1'");
        let restarted = "{.status.containerStatuses[?(@.name==\"database\")].restartCount}";
        own.must(&format!("wait --for=jsonpath={restarted}=1 --timeout=60s pod/web"));
        assert!(own.gousse(wait).ok, "{}", story(&own));
        assert_eq!(last_code(&own, "web", "database"), Some(0));
        assert!(visits() > before);
        let ended = delete(&own, "web", "apache", "caught SIGWINCH");
        assert_eq!(ended, [("apache".to_string(), 0), ("database".to_string(), 0)]);
        own.down(true);
        assert!(up.end().ok);
        assert_eq!(stage.left(), Vec::<String>::new());
    });
}

/// A command that makes the container end in which it runs: it may be killed along with it.
fn make_end(own: &Instance, words: &str) {
    let done = own.gousse(words);
    assert!(done.ok || done.err.ends_with("command terminated with exit code 137\n"), "{done:?}");
}

/// Loads a layout, packed with that one of its two tables of contents.
fn load(own: &Instance, layout: &std::path::Path, contents: &str) {
    let archive = layout.with_extension("tar");
    let mut tar = std::process::Command::new("tar");
    tar.arg("-C").arg(layout).arg("-cf").arg(&archive).args([contents, "oci-layout", "blobs"]);
    let packed = tar.output_now();
    assert!(packed.ok, "{packed:?}");
    let loaded = own.command("image load").arg(&archive).output_now();
    assert!(loaded.ok, "{loaded:?}");
}

/// The whole answer of the pod's web server.
fn page(own: &Instance, method: &str, path: &str, body: &str) -> String {
    use std::io::{Read, Write};
    let address = own.must("get pod web -o jsonpath={.status.podIP}");
    let mut connection = std::net::TcpStream::connect((address.as_str(), 80)).unwrap();
    let length = body.len();
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: web\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    connection.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer
}

fn last_code(own: &Instance, pod: &str, container: &str) -> Option<i64> {
    let pod = own.json(&format!("get pod {pod}"));
    let statuses = pod["status"]["containerStatuses"].as_array().unwrap();
    let status = statuses.iter().find(|status| status["name"] == container)?;
    status["lastState"]["terminated"]["exitCode"].as_i64()
}

/// Deletes a pod, one of whose containers says so; each one's exit code, as the last status told it.
fn delete(own: &Instance, pod: &str, container: &str, said: &str) -> Vec<(String, i64)> {
    let mut log = Lines::of(own.program(GOUSSE, &format!("logs -f {pod} -c {container}")));
    let statuses = "{range .status.containerStatuses[*]}{.name}={.state.terminated.exitCode} {end}{\"\\n\"}";
    let watch = own.program(GOUSSE, &format!("get pod {pod} -w -o 'jsonpath={statuses}'"));
    let mut watch = Lines::of(watch);
    // Both follow before the end begins.
    log.until(|_| true);
    watch.until(|_| true);
    own.must(&format!("delete pod {pod} --timeout=60s"));
    let parse = |line: &str| -> Option<Vec<(String, i64)>> {
        let words = line.split_whitespace();
        words
            .map(|word| word.split_once('=').and_then(|(name, code)| Some((name.to_string(), code.parse().ok()?))))
            .collect()
    };
    log.until(|line| line.contains(said));
    let line = watch.until(|line| parse(line).is_some_and(|codes| !codes.is_empty()));
    parse(&line).unwrap()
}

/// For a failure's message: what the pod says and what its containers said.
fn story(own: &Instance) -> String {
    let pod: Value = own.json("get pod web");
    let logs: String =
        ["prepare", "database", "apache"].iter().map(|name| own.gousse(&format!("logs web -c {name}")).out).collect();
    format!("{:#}\n{logs}\n{}", pod["status"], own.logged())
}

const NGINX_POD: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: site}
data:
  default.conf: |
    server {
      listen 80;
      location / { root /site; }
      location /upload/ { root /var/lib/nginx; dav_methods PUT; create_full_put_path on; }
    }
  index.html: |
    <h1>From a configMap</h1>
---
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers:
  - name: web
    image: nginx:debian
    ports: [{containerPort: 80}]
    readinessProbe: {httpGet: {path: /, port: 80}, periodSeconds: 1}
    volumeMounts:
    - {name: site, mountPath: /etc/nginx/conf.d/default.conf, subPath: default.conf}
    - {name: site, mountPath: /site}
    - {name: data, mountPath: /var/lib/nginx}
  volumes:
  - {name: site, configMap: {name: site}}
  - {name: data, emptyDir: {}}
";

const LAMP_POD: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: site}
data:
  start.sql: |
    CREATE DATABASE IF NOT EXISTS site;
    CREATE USER IF NOT EXISTS 'site'@'%' IDENTIFIED BY 'secret';
    GRANT ALL ON site.* TO 'site'@'%';
    CREATE TABLE IF NOT EXISTS site.titles (id INT PRIMARY KEY, title TEXT);
    INSERT IGNORE INTO site.titles VALUES (1, 'From a database row');
    CREATE TABLE IF NOT EXISTS site.visits (id INT AUTO_INCREMENT PRIMARY KEY);
  httpd.conf: |
    LoadModule mpm_prefork_module /usr/lib/apache2/modules/mod_mpm_prefork.so
    LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
    LoadModule dir_module /usr/lib/apache2/modules/mod_dir.so
    LoadModule php_module /usr/lib/apache2/modules/libphp8.2.so
    ServerName web
    Listen 80
    User www-data
    Group www-data
    PidFile /run/apache2.pid
    DefaultRuntimeDir /run
    ErrorLog /dev/stderr
    PHPIniDir /site
    DocumentRoot /site
    DirectoryIndex index.php
    <Directory /site>
      Require all granted
    </Directory>
    <FilesMatch "\.php$">
      SetHandler application/x-httpd-php
    </FilesMatch>
  php.ini: |
    extension=mysqlnd.so
    extension=mysqli.so
  index.php: |
    <?php
    $db = new mysqli('127.0.0.1', 'site', 'secret', 'site');
    $db->query('INSERT INTO visits VALUES (NULL)');
    $title = $db->query('SELECT title FROM titles WHERE id = 1')->fetch_row()[0];
    $visit = $db->query('SELECT count(*) FROM visits')->fetch_row()[0];
    echo "<h1>$title</h1> visit $visit<p>";
---
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  os: {name: linux}
  initContainers:
  - name: prepare
    image: lamp:debian
    command: [mariadb-install-db, --user=mysql, --datadir=/var/lib/mysql, --skip-test-db]
    volumeMounts: [{name: data, mountPath: /var/lib/mysql}]
  containers:
  - name: database
    image: lamp:debian
    command: [mariadbd, --no-defaults, --user=mysql, --datadir=/var/lib/mysql, --socket=/tmp/mysql.sock]
    args: [--bind-address=127.0.0.1, --init-file=/site/start.sql, --innodb-buffer-pool-size=16M]
    readinessProbe: {exec: {command: [mariadb-admin, --no-defaults, --socket=/tmp/mysql.sock, ping]}, periodSeconds: 1}
    volumeMounts: [{name: data, mountPath: /var/lib/mysql}, {name: site, mountPath: /site}]
  - name: apache
    image: lamp:debian
    command: [apache2, -D, FOREGROUND, -f, /site/httpd.conf]
    lifecycle: {stopSignal: SIGWINCH}
    readinessProbe: {httpGet: {path: /, port: 80}, periodSeconds: 1}
    volumeMounts: [{name: site, mountPath: /site}]
  volumes:
  - {name: data, emptyDir: {}}
  - {name: site, configMap: {name: site}}
"#;
