// Small helpers of the page. Lists, search and detail work without them.
"use strict";

// A link of `hookweir page` lets in at once.
document.querySelector("form[data-go]")?.requestSubmit();

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, textarea, select");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    document.getElementById("find")?.focus();
  }
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-confirm]");
  // A form with a gap is not sent: the browser shows the gap, and there is nothing to confirm.
  if (!button || button.form?.checkValidity() === false) {
    return;
  }
  if (!window.confirm(button.dataset.confirm)) {
    event.preventDefault();
  }
});

document.addEventListener("change", (event) => {
  const name = event.target.dataset?.all;
  if (name) {
    for (const box of document.getElementsByName(name)) {
      box.checked = event.target.checked;
    }
  }
});

// Without this, the text can be selected.
for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", () => {
    const says = button.nextElementSibling;
    navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent).then(
      () => { says.textContent = "copied"; },
      () => { says.textContent = "not copied: select the text"; },
    );
  });
}

// Figures that change by themselves: if nobody answers any more, the page says so.
if (document.getElementById("figures") || document.getElementById("progress")) {
  const banner = document.createElement("p");
  banner.className = "failure";
  banner.setAttribute("role", "alert");
  const silent = () => {
    if (!banner.isConnected) {
      banner.textContent = `No answer since ${new Date().toLocaleTimeString()}: the figures are old.`;
      document.getElementById("main").prepend(banner);
    }
  };
  setInterval(() => {
    if (document.hidden) {
      return;
    }
    fetch("/page/sources", { redirect: "manual" }).then((answer) => {
      if (answer.type === "opaqueredirect") {
        location.href = "/page/login";
      } else if (answer.ok) {
        banner.remove();
      } else {
        silent();
      }
    }, silent);
  }, 5000);
}

// Outcomes as they happen.
const live = document.getElementById("live");
if (live) {
  const ROWS = 200;
  const rows = document.getElementById("outcomes");
  const connection = document.getElementById("connection");
  const sampled = document.getElementById("sampled");
  const pause = live.querySelector("[data-pause]");
  const say = (text, word) => {
    if (connection.textContent !== text) {
      connection.textContent = text;
      connection.dataset.state = word;
    }
  };
  let paused = false;
  let missed = 0;
  let source;
  let last;

  const show = (html) => {
    // The service has escaped all text in it.
    rows.insertAdjacentHTML("afterbegin", html);
    while (rows.children.length > ROWS) {
      rows.lastElementChild.remove();
    }
  };

  // The stream was refused: the service restarts, or the session has ended. Then the page leads to the login.
  const again = () => {
    fetch("/page/live", { redirect: "manual" }).then(
      (answer) => {
        if (answer.type === "opaqueredirect") {
          say("logged out: log in again", "bad");
        } else {
          setTimeout(connect, 2000);
        }
      },
      () => setTimeout(connect, 2000),
    );
  };

  const connect = () => {
    if (document.hidden) {
      say("not connected: the tab is hidden", "slow");
      return;
    }
    if (source && source.readyState !== EventSource.CLOSED) {
      return;
    }
    const address = new URL(live.dataset.stream, location.href);
    if (last) {
      address.searchParams.set("after", last);
    }
    source = new EventSource(address);
    source.onopen = () => say("connected", "good");
    source.onerror = () => {
      if (document.hidden) {
        return;
      }
      say("reconnecting", "slow");
      if (source.readyState === EventSource.CLOSED) {
        again();
      }
    };
    source.addEventListener("missed", (event) => {
      last = event.lastEventId;
      const { says, count } = JSON.parse(event.data);
      if (paused) {
        missed += count;
      } else {
        sampled.textContent = says;
      }
    });
    source.addEventListener("outcomes", (event) => {
      last = event.lastEventId;
      if (!event.data) {
        return;
      }
      if (paused) {
        missed += event.data.split("<tr>").length - 1;
        sampled.textContent = `paused: ${missed} newer ones are not shown`;
      } else {
        show(event.data);
      }
    });
  };

  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    pause.textContent = paused ? "Follow" : "Pause";
    if (paused) {
      missed = 0;
      sampled.textContent = "paused";
    } else {
      sampled.textContent = `${missed} came while paused, and are not shown: reload for them`;
    }
  });
  // A browser has six connections to a service: a tab that nobody sees leaves its own to the others.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      source?.close();
      say("not connected: the tab is hidden", "slow");
    } else {
      connect();
    }
  });
  say("connecting", "slow");
  connect();
}
