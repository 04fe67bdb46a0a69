// A served page: its menus lead to other pages, and what still changes is fetched again without a reload.
"use strict";
(function () {
  const EVERY_MS = 2000, AWAY_MS = 15000;
  const main = document.getElementById("main"), parts = document.getElementById("parts");
  const told = document.getElementById("link-state");
  let mark = main.dataset.mark, timer = 0;

  document.addEventListener("change", (event) => {
    const menu = event.target.closest("select[data-menu]");
    if (menu && menu.value) location.assign(menu.value);
  });

  // A button has something begun here, and the page then tells of it.
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-post]");
    if (!button) return;
    button.disabled = true;
    const told = button.parentElement.querySelector(".button-error");
    try {
      const answer = await fetch(button.dataset.post, { method: "POST" });
      if (!answer.ok) throw new Error((await answer.json()).why);
      button.blur();
      again();
    } catch (error) {
      told.textContent = error instanceof TypeError ? "The server does not answer." : error.message;
      button.disabled = false;
    }
  });

  function known() {
    return new Map(Array.from(parts.children, (part) => [part.dataset.key, part]));
  }

  // The part that is there takes what is new of it: a figure keeps its zoom, a table where it was scrolled to.
  function renewed(old, fresh) {
    if (!old) return fresh;
    if (old.dataset.mark === fresh.dataset.mark || old.contains(document.activeElement)) return old;
    const plot = old.querySelector(".plot"), data = fresh.querySelector("figure.figure > script");
    if (plot && data && old.dataset.key === fresh.dataset.key) {
      old.querySelector("figure.figure > script").textContent = data.textContent;
      old.querySelector("figcaption").replaceWith(fresh.querySelector("figcaption"));
      plot.setAttribute("aria-label", fresh.querySelector(".plot").getAttribute("aria-label"));
      old.dataset.mark = fresh.dataset.mark;
      figures.draw(old.querySelector("figure.figure"));
      return old;
    }
    return fresh;
  }

  function swap(html) {
    const fresh = new DOMParser().parseFromString(html, "text/html").querySelectorAll(".part");
    const old = known();
    const wanted = Array.from(fresh, (part) => renewed(old.get(part.dataset.key), part));
    wanted.forEach((part, at) => {
      const here = parts.children[at];
      if (here === part) return;
      const scrolled = old.get(part.dataset.key)?.querySelector(".scroll")?.scrollLeft;
      if (here && here.dataset.key === part.dataset.key) here.replaceWith(part);
      else parts.insertBefore(part, here || null);
      if (scrolled) part.querySelector(".scroll").scrollLeft = scrolled;
      const figure = part.querySelector("figure.figure");
      if (figure && !old.has(part.dataset.key)) figures.draw(figure);
    });
    while (parts.children.length > wanted.length) parts.lastElementChild.remove();
    document.dispatchEvent(new Event("swapped"));
  }

  async function fetched() {
    const address = new URL(location.href);
    address.searchParams.set("part", "main");
    // The browser sends the ETag of what it has, and gives that again where the server says 304.
    const answer = await fetch(address, { cache: "no-cache" });
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    const fresh = answer.headers.get("ETag").replaceAll('"', "");
    if (fresh !== mark) swap(await answer.text());
    mark = fresh;
    return answer.headers.get("Wavezoo-Live") === "yes";
  }

  async function again() {
    let wait = EVERY_MS, live = true;
    if (!document.hidden) {
      try {
        live = await fetched();
        told.textContent = "";
      } catch (error) {
        wait = AWAY_MS;
        told.textContent = "The server does not answer; what is shown may be old. It is asked again.";
      }
    }
    clearTimeout(timer);
    if (live) timer = setTimeout(again, wait);
  }

  if (main.dataset.live) timer = setTimeout(again, EVERY_MS);
})();
