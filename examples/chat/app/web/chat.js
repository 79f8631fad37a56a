"use strict";

/* Where the socket is: the page's own host and path, and "ws" under it. Nothing is configured, so the page works
   through any route, at any prefix, over http (ws:) and https (wss:). */
const url = new URL(location.href);
url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
url.pathname = location.pathname.replace(/\/?$/, "/ws");
url.search = url.hash = "";

const SHOWN = 300; // messages kept in the page
const FIRST_WAIT = 500; // ms until the first try again; doubles from try to try
const LONGEST_WAIT = 15000;
const GROUP = 3 * 60 * 1000; // messages of one author within this time stand together

const $ = (id) => document.getElementById(id);
const log = $("log"), text = $("text"), nameField = $("name");

let socket = null;
let tries = 0; // since the last hello
let retryAt = 0;
let retryTimer = 0;
let opened = 0; // sockets of this page so far
let openedAt = 0;
const seen = new Set(); // ids of the messages shown
const mine = new Set(JSON.parse(sessionStorage.getItem("mine") ?? "[]")); // ids of this tab's sockets, old ones too

/* ---- the name: random at first, kept for this tab */

const pick = (words) => words[Math.floor(Math.random() * words.length)];
const friendlyName = () =>
  pick("Brisk Calm Clever Cosy Gentle Happy Keen Lucky Mellow Nimble Quiet Sunny Swift Witty".split(" ")) + " " +
  pick("Badger Dolphin Falcon Finch Fox Heron Koala Lynx Otter Panda Puffin Robin Seal Wren".split(" "));

let name = sessionStorage.getItem("name") || friendlyName();
const keepName = () => {
  name = nameField.value.trim() || name;
  nameField.value = name;
  sessionStorage.setItem("name", name);
};
nameField.value = name;
keepName();
nameField.addEventListener("change", keepName);
nameField.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.isComposing) {
    event.preventDefault(); // else the new line would land in the message
    text.focus();
  }
});

/* ---- the socket */

function connect() {
  clearTimeout(retryTimer);
  show("connecting");
  socket = new WebSocket(url);
  socket.onmessage = (event) => receive(JSON.parse(event.data));
  socket.onclose = closed;
}

function closed() {
  socket = null;
  /* Twice as long from try to try, and anywhere between half of that and all of it: when a server goes, its clients
     must not all come back in the same moment. */
  const longest = Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** tries++);
  const wait = longest / 2 + Math.random() * longest / 2;
  retryAt = Date.now() + wait;
  retryTimer = setTimeout(connect, wait);
  show("closed");
}

function tryNow() {
  if (!socket) connect();
}

$("again").addEventListener("click", tryNow);
addEventListener("online", tryNow);
document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && tryNow());

function receive(message) {
  switch (message.type) {
    case "hello":
      tries = 0;
      opened += 1;
      openedAt = Date.now();
      mine.add(message.you);
      sessionStorage.setItem("mine", JSON.stringify([...mine].slice(-20)));
      $("pod").textContent = message.pod;
      $("balancer").textContent = message.balancer;
      $("through").hidden = !message.balancer;
      message.history.forEach((item) => add(item, false));
      people(message.people);
      show("open");
      break;
    case "message":
      add(message, true);
      break;
    case "people":
      people(message.people);
      break;
    case "error":
      problem(message.error);
  }
}

/* ---- what is seen. Everything that came over the socket goes in as text, never as HTML. */

function show(state) {
  document.body.dataset.state = state;
  $("send").disabled = state !== "open";
  $("again").hidden = state !== "closed";
  $("state").textContent = { connecting: "Connecting", open: "Connected", closed: "Closed" }[state];
  if (state !== "open") {
    $("pod").textContent = $("balancer").textContent = "–";
    $("people").textContent = "Not connected";
    $("which").textContent = "";
  }
  tick();
}

function people(count) {
  $("people").textContent = count === 1 ? "Only you are here" : `${count} people here`;
}

function tick() {
  const state = document.body.dataset.state;
  if (state === "open") {
    const since = new Date(openedAt).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
    $("since").textContent = `Open since ${since}${duration(Date.now() - openedAt)}`;
    $("which").textContent = opened === 1 ? "The first one of this page" : `Number ${opened} of this page`;
  }
  if (state === "connecting") $("since").textContent = "Waiting for an answer";
  if (state === "closed") $("since").textContent = `Next try in ${Math.max(1, Math.ceil((retryAt - Date.now()) / 1000))} s`;
}
setInterval(tick, 1000);

function duration(ms) {
  const seconds = Math.floor(ms / 1000);
  if (seconds < 5) return "";
  if (seconds < 60) return `, for ${seconds} s`;
  if (seconds < 3600) return `, for ${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return `, for ${Math.floor(seconds / 3600)} h ${Math.floor(seconds / 60) % 60} min`;
}

function element(tag, className, content = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = content;
  return made;
}

/* Whoever reads at the end stays there, also when a phone's keyboard takes half of the room away. */
let atEnd = true;
const toEnd = () => { log.scrollTop = log.scrollHeight; };
log.addEventListener("scroll", () => { atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 80; });
new ResizeObserver(() => atEnd && toEnd()).observe(log);

function add(message, fresh) {
  if (seen.has(message.id)) return; // the history of a new socket repeats what this page shows already
  seen.add(message.id);
  const own = mine.has(message.sender);
  const at = new Date(message.at);
  const last = log.querySelector(".message:last-child");
  const who = `${message.sender} ${message.from}`;
  const follows = last && last.dataset.who === who && at - last.at < GROUP;

  const item = element("article", `message${own ? " mine" : ""}${follows ? " follows" : ""}${fresh ? " fresh" : ""}`);
  item.dataset.id = message.id;
  item.dataset.who = who;
  item.at = at;

  const avatar = element("span", "avatar", initials(message.from));
  avatar.ariaHidden = "true";
  avatar.style.setProperty("--hue", hue(message.from));

  const author = element("span", "author", message.from);
  author.dir = "auto";
  const time = element("time", "", at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }));
  time.dateTime = message.at;
  time.title = `${at.toLocaleString()}, through ${message.pod}`;
  const meta = element("div", "meta");
  meta.append(author, time);

  const bubble = element("p", "bubble", message.text);
  bubble.dir = "auto";
  const body = element("div", "body");
  body.append(meta, bubble);
  item.append(avatar, body);

  $("empty").hidden = true;
  log.append(item);
  const all = log.getElementsByClassName("message");
  if (all.length > SHOWN) {
    seen.delete(all[0].dataset.id);
    all[0].remove();
  }
  if (own || atEnd) toEnd();
}


const initials = (from) => from.split(/\s+/).slice(0, 2).map((word) => [...word][0]).join("").toUpperCase();

function hue(from) {
  let sum = 0;
  for (const char of from) sum = (sum * 31 + char.codePointAt(0)) % 65521;
  return Math.round(sum * 137.508) % 360; // the golden angle: names that are alike get colours that are not
}

let problemTimer = 0;
function problem(sentence) {
  $("problem").textContent = sentence;
  $("problem").hidden = false;
  clearTimeout(problemTimer);
  problemTimer = setTimeout(() => { $("problem").hidden = true; }, 6000);
}

/* ---- sending */

$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!text.value.trim() || socket?.readyState !== WebSocket.OPEN) return; // the text stays in the field
  socket.send(JSON.stringify({ from: name, text: text.value }));
  text.value = "";
  $("problem").hidden = true;
  text.focus();
});
text.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("composer").requestSubmit();
  }
});

/* ---- start */

const wide = matchMedia("(width >= 52rem)");
const unfold = () => { $("facts").open = wide.matches; };
wide.addEventListener("change", unfold);
unfold();
$("url").append(...url.href.split(/(?<=\/)/).flatMap((part) => [part, document.createElement("wbr")])); // lines end at slashes
connect();
