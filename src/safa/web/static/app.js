// The page: sends uploads, shows the jobs that /api/events reports, and compares results. It builds elements from the
// templates of index.html and sets text only, never HTML. docs/serve.md describes the API.

const byId = (id) => document.getElementById(id);
const fromTemplate = (id) => byId(id).content.firstElementChild.cloneNode(true);
const isBusy = (job) => job.state === "queued" || job.state === "running";

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function setIcon(svg, name) {
  svg.querySelector("use").setAttribute("href", `#icon-${name}`);
}

function setProblem(element, sentence) {
  element.replaceChildren();
  element.hidden = !sentence;
  if (sentence) element.append(newIcon("warning"), sentence);
}

function newIcon(name) {
  const svg = fromTemplate("job").querySelector("svg");
  setIcon(svg, name);
  return svg;
}

async function call(method, path, body) {
  let answer;
  try {
    const headers = body ? { "Content-Type": "application/json" } : {};
    answer = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
  } catch {
    throw new Error("The server does not answer; is it still running?");
  }
  if (answer.status === 401) location.reload(); // the password was changed
  const content = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(content.error ?? `The server refused this with ${answer.status}; reload the page.`);
  return content;
}

function fillTable(table, rows) {
  table.replaceChildren(
    ...rows.map(({ label, value, note }) => {
      const [row, name, cell] = ["div", "dt", "dd"].map((tag) => document.createElement(tag));
      name.textContent = label;
      cell.textContent = value;
      if (note) {
        const remark = document.createElement("em");
        remark.textContent = note;
        cell.append(value ? " " : "", remark);
      }
      row.append(name, cell);
      return row;
    }),
  );
}

// ---- The new job: upload, options, forecast

let draft = null;
let request = null; // the upload that is being sent
let forecasts = 0;

function showDraft(job) {
  draft = job;
  byId("drop").hidden = Boolean(job);
  byId("chosen").hidden = byId("options").hidden = !job;
  if (!job) return;
  setIcon(byId("chosen").querySelector(".icon"), job.kind);
  setText(byId("chosen").querySelector("strong"), job.title);
  setText(byId("chosen").querySelector("span"), job.summary);
  const kinds = ["any", job.kind, ...(job.source.count === 2 ? ["pair"] : [])];
  for (const part of byId("options").querySelectorAll("[data-for]")) part.hidden = !kinds.includes(part.dataset.for);
  showForecast();
}

function chosenOptions() {
  const options = {};
  for (const input of byId("options").elements) {
    if (input.type === "checkbox") options[input.name] = input.checked;
    else if (input.name && (input.type !== "radio" || input.checked)) options[input.name] = input.value;
  }
  return options;
}

async function showForecast() {
  const table = byId("options").querySelector(".forecast");
  const number = ++forecasts;
  try {
    const forecast = await call("POST", `/api/jobs/${draft.id}/forecast`, chosenOptions());
    if (number !== forecasts) return; // an option was changed meanwhile
    fillTable(table, forecast.rows);
    table.hidden = false;
    setProblem(byId("problem"), "");
  } catch (error) {
    if (number !== forecasts) return;
    table.hidden = true;
    setProblem(byId("problem"), error.message);
  }
  byId("start").disabled = byId("try").disabled = table.hidden;
}

function sendFile(file, path, onProgress) {
  return new Promise((resolve, reject) => {
    request = new XMLHttpRequest();
    request.open("PUT", path);
    request.responseType = "json";
    request.upload.onprogress = (event) => onProgress(event.loaded);
    request.onload = () => {
      const answer = request.response ?? {};
      if (request.status === 200) resolve(answer);
      else reject(new Error(answer.error ?? "The server did not understand this upload; reload the page and try again."));
    };
    request.onerror = () => reject(new Error(`${file.name} did not arrive; is the server still running?`));
    request.onabort = () => reject(new Error(""));
    request.send(file);
  });
}

async function sendFiles(files) {
  if (request || !files.length) return;
  request = {};
  const sending = byId("drop").querySelector(".sending");
  const [line, bar] = [sending.querySelector("strong"), sending.querySelector("progress")];
  if (draft) call("DELETE", `/api/jobs/${draft.id}`).catch(() => {});
  showDraft(null);
  setProblem(byId("problem"), "");
  line.textContent = "Sending";
  bar.value = 0;
  try {
    let job = await call("POST", "/api/jobs", { files: files.map(({ name, size }) => ({ name, size })) });
    sending.hidden = false;
    const total = files.reduce((sum, file) => sum + file.size, 0) || 1;
    let before = 0;
    for (const [index, file] of files.entries()) {
      job = await sendFile(file, `/api/jobs/${job.id}/uploads/${index + 1}`, (part) => {
        bar.value = Math.min(100, (100 * (before + part)) / total);
        line.textContent = bar.value < 100 ? `Sending ${Math.round(bar.value)} %` : "Looking at it";
      });
      before += file.size;
    }
    showDraft(job);
    byId("news").textContent = `${job.title} is ready: ${job.summary}.`;
    const choices = [...byId("options").querySelectorAll("input:checked"), byId("start")];
    choices.find((input) => input.checkVisibility()).focus({ preventScroll: true });
  } catch (error) {
    setProblem(byId("problem"), error.message);
  }
  sending.hidden = true;
  request = null;
}

function setUpForm() {
  const drop = byId("drop");
  const files = byId("files");
  drop.querySelector(".zone").addEventListener("click", () => files.click());
  drop.querySelector(".sending button").addEventListener("click", () => request?.abort?.());
  files.addEventListener("change", () => {
    sendFiles([...files.files]);
    files.value = "";
  });
  for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
    window.addEventListener(kind, (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      document.body.classList.toggle("over", kind === "dragenter" || kind === "dragover");
      if (kind === "drop") sendFiles([...event.dataTransfer.files]);
    });
  }
  byId("chosen").querySelector("button").addEventListener("click", () => {
    call("DELETE", `/api/jobs/${draft.id}`).catch(() => {});
    showDraft(null);
    setProblem(byId("problem"), "");
    drop.querySelector(".zone").focus();
  });
  byId("options").addEventListener("change", showForecast);
  byId("options").addEventListener("submit", async (event) => {
    event.preventDefault();
    if (await act(`/api/jobs/${draft.id}/start`)) {
      wanted = "";
      showDraft(null);
      drop.querySelector(".zone").focus({ preventScroll: true });
    }
  });
  byId("try").addEventListener("click", () => act(`/api/jobs/${draft.id}/try`));
}

async function act(path) {
  byId("start").disabled = byId("try").disabled = true;
  try {
    await call("POST", path, chosenOptions());
    setProblem(byId("problem"), "");
    wanted = "";
    return true;
  } catch (error) {
    setProblem(byId("problem"), error.message);
    return false;
  } finally {
    byId("start").disabled = byId("try").disabled = false;
  }
}

// ---- The list of jobs

let jobs = [];
let wanted = ""; // the job whose "Show" was pressed
let source = null;

function showJobs(all) {
  const states = new Map(jobs.map((job) => [job.id, job.state]));
  const isFirst = !byId("stage").firstElementChild;
  const drafts = all.filter((job) => job.state === "draft");
  const list = all.filter((job) => job.state !== "draft");
  if (isFirst && !draft && !request && drafts.length) showDraft(drafts[0]);
  const shown = list.find((job) => job.id === wanted && job.state === "done") ?? list.find((job) => job.state === "done");
  showStage(shown, list.length > 0);
  const items = byId("jobs").querySelector(".jobs");
  const old = new Map([...items.children].map((item) => [item.dataset.job, item]));
  list.forEach((job, index) => {
    const item = old.get(job.id) ?? newItem(job);
    updateItem(item, job, job === shown);
    if (items.children[index] !== item) items.insertBefore(item, items.children[index] ?? null);
    old.delete(job.id);
    if (states.has(job.id) && states.get(job.id) !== job.state && !isBusy(job)) {
      byId("news").textContent = `${job.title}: ${job.status}`;
    }
  });
  for (const item of old.values()) item.remove();
  byId("jobs").hidden = !list.length;
  const isChanged = jobs.filter(isBusy).length !== list.filter(isBusy).length;
  jobs = list;
  if (draft && isChanged && !isFirst) showForecast(); // other jobs before it
}

function newItem(job) {
  const item = fromTemplate("job");
  item.dataset.job = job.id;
  setText(item.querySelector("strong"), job.title);
  setText(item.querySelector(".summary"), job.summary);
  setIcon(item.querySelector(".thumb svg"), job.kind);
  item.querySelector("progress").setAttribute("aria-label", `Progress of ${job.title}`);
  for (const button of item.querySelectorAll("button, a")) {
    button.setAttribute("aria-label", `${button.textContent.trim()} ${job.title}`);
  }
  return item;
}

function updateItem(item, job, isShown) {
  item.dataset.state = job.state;
  item.classList.toggle("shown", isShown);
  const status = item.querySelector(".status");
  if (status.dataset.text !== job.status) {
    status.dataset.text = job.status;
    status.replaceChildren(...(job.state === "failed" ? [newIcon("warning")] : []), job.status);
  }
  const bar = item.querySelector("progress");
  bar.hidden = job.state !== "running";
  if (job.progress) bar.value = job.progress.percent;
  else bar.removeAttribute("value");
  const picture = item.querySelector("img");
  if (job.files.after && !picture.src) {
    picture.src = job.files.after;
    picture.hidden = false;
    item.querySelector(".thumb svg").remove();
  }
  const warnings = item.querySelector(".warnings");
  if (warnings.childElementCount !== job.warnings.length) {
    warnings.replaceChildren(
      ...job.warnings.map((warning) => Object.assign(document.createElement("li"), { textContent: warning })),
    );
  }
  for (const button of item.querySelectorAll("button")) button.hidden = !job.actions.includes(button.dataset.action);
  item.querySelector("[data-action=show]").hidden = job.state !== "done" || isShown;
  setText(item.querySelector("[data-action=resume]"), job.kind === "video" && !job.trial ? "Go on" : "Again");
  const link = item.querySelector(".download");
  link.hidden = !job.files.result;
  if (job.files.result) link.href = `${job.files.result}?save`;
}

function setUpList() {
  byId("jobs").addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-action]");
    if (!button) return;
    const id = button.closest(".job").dataset.job;
    const action = button.dataset.action;
    setProblem(byId("jobs-problem"), "");
    try {
      if (action === "show") {
        wanted = id;
        showJobs(jobs);
        byId("stage").querySelector("h2").focus({ preventScroll: true });
        byId("stage").scrollIntoView({ block: "nearest" });
      } else if (action === "delete") {
        await call("DELETE", `/api/jobs/${id}`);
        showJobs(jobs.filter((job) => job.id !== id));
        byId("jobs").querySelector("h2").focus({ preventScroll: true });
      } else {
        const changed = await call("POST", `/api/jobs/${id}/${action}`);
        showJobs(jobs.map((job) => (job.id === id ? changed : job)));
      }
    } catch (error) {
      setProblem(byId("jobs-problem"), error.message);
    }
  });
}

async function listen() {
  source?.close();
  try {
    await call("POST", "/api/session"); // a cookie with an id, if there is none
  } catch {
    byId("connection").hidden = false;
    setTimeout(listen, 1000);
    return;
  }
  source = new EventSource("/api/events");
  source.addEventListener("jobs", (event) => {
    byId("connection").hidden = true;
    showJobs(JSON.parse(event.data).jobs);
  });
  source.onerror = () => {
    byId("connection").hidden = false;
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 1000);
  };
}

// ---- Before and after

function showStage(job, isBusyList) {
  const kind = job ? job.id : isBusyList ? "soon" : "welcome";
  const stage = byId("stage");
  if (stage.dataset.shown === kind) return;
  stage.dataset.shown = kind;
  if (!job) stage.replaceChildren(fromTemplate(kind));
  else stage.replaceChildren(job.trial ? newTrial(job) : newComparison(job));
}

function newTrial(job) {
  const stage = fromTemplate("trial");
  const video = stage.querySelector("video");
  stage.querySelector("h2").textContent = `A second of ${job.title}`;
  stage.querySelector(".download").href = `${job.files.result}?save`;
  stage.querySelector(".remark").textContent = `${job.result.note}.`;
  stage.querySelector(".note a").href = job.files.sheet;
  video.style.aspectRatio = `${job.result.width}/${job.result.height}`;
  video.autoplay = !matchMedia("(prefers-reduced-motion: reduce)").matches;
  video.src = job.files.result;
  fillTable(
    stage.querySelector("dl"),
    (job.result.networks ?? []).map(([label, value]) => ({ label, value })),
  );
  return stage;
}

function newComparison(job) {
  const stage = fromTemplate("comparison");
  const find = (selector) => stage.querySelector(selector);
  const { width, height } = job.result;
  find("h2").textContent = job.title;
  for (const link of stage.querySelectorAll(".title .download")) link.href = `${job.files.result}?save`;
  find("img.after").src = job.files.after;
  find("img.before").src = job.files.before;
  find(".frame").style.aspectRatio = `${width}/${height}`;
  find(".of-before").textContent = `Before, ${job.source.width} x ${job.source.height}`;
  find(".of-after").textContent = `After, ${width} x ${height}`;
  setUpCut(stage);
  for (const button of stage.querySelectorAll("button[data-view]")) {
    button.addEventListener("click", () => {
      stage.dataset.view = button.dataset.view;
      for (const other of stage.querySelectorAll("button[data-view]")) {
        other.setAttribute("aria-pressed", String(other === button));
      }
    });
  }
  if (job.plays) {
    find("video.after").src = job.files.result;
    find("video.before").src = job.files.source;
    setUpVideos(stage, Number(job.options.speed));
  } else {
    for (const video of stage.querySelectorAll("video")) video.remove();
  }
  if (job.files.loop) {
    find(".loop").hidden = false;
    find(".loop img").src = job.files.loop;
    find(".loop .download").href = `${job.files.loop}?save`;
  }
  return stage;
}

const KEY_STEPS = { ArrowLeft: -2, ArrowDown: -2, ArrowRight: 2, ArrowUp: 2, PageDown: -10, PageUp: 10, Home: -100, End: 100 };

function setUpCut(stage) {
  const cut = stage.querySelector(".cut");
  const move = () => {
    stage.querySelector(".frame").style.setProperty("--cut", `${cut.value}%`);
    cut.setAttribute("aria-valuetext", `${Math.round(cut.value)} % before`);
  };
  cut.addEventListener("input", move);
  cut.addEventListener("keydown", (event) => {
    if (!(event.key in KEY_STEPS)) return;
    event.preventDefault();
    cut.value = Number(cut.value) + KEY_STEPS[event.key]; // the browser keeps it between 0 and 100
    move();
  });
  move();
}

function setUpVideos(stage, slow) {
  const find = (selector) => stage.querySelector(selector);
  const [after, before, seek, play] = ["video.after", "video.before", ".seek", ".play"].map(find);
  const follow = (exactly) => {
    const time = after.currentTime / slow;
    before.playbackRate = 1 / slow;
    if (exactly || Math.abs(before.currentTime - time) > 0.08) before.currentTime = time;
    if (after.duration && document.activeElement !== seek) seek.value = (1000 * after.currentTime) / after.duration;
    const minutes = Math.floor(after.currentTime / 60);
    const clock = `${minutes}:${(after.currentTime % 60).toFixed(1).padStart(4, "0")}`;
    setText(find(".clock"), clock);
    seek.setAttribute("aria-valuetext", clock);
  };
  const setPlaying = (isPlaying) => {
    stage.classList.toggle("playing", isPlaying);
    play.setAttribute("aria-label", isPlaying ? "Pause" : "Play");
  };
  play.addEventListener("click", () => (after.paused ? after.play() : after.pause()));
  seek.addEventListener("input", () => {
    after.pause();
    if (after.duration) after.currentTime = (seek.value / 1000) * after.duration;
  });
  after.addEventListener("play", () => {
    before.play();
    setPlaying(true);
  });
  after.addEventListener("pause", () => {
    before.pause();
    setPlaying(false);
    follow(true);
  });
  after.addEventListener("seeked", () => follow(true));
  after.addEventListener("timeupdate", () => follow(false));
  for (const video of [after, before]) {
    video.addEventListener("loadeddata", () => {
      if (after.readyState > 1 && before.readyState > 1) stage.classList.add("moving");
    });
    video.addEventListener("error", () => stage.classList.remove("moving")); // the stills underneath stay
  }
}

// ---- Start

if (document.body.classList.contains("locked")) {
  // A link from another site comes without cookies: a browser that is logged in goes on.
  const answer = await fetch("/api/options");
  if (answer.ok) location.replace("/");
} else {
  setUpForm();
  setUpList();
  // A browser has few connections to one server; pages that are not looked at leave theirs to others.
  document.addEventListener("visibilitychange", () => (document.hidden ? source?.close() : listen()));
  if (!document.hidden) listen();
}
