"use strict";
// Without this script every part of the page is shown below the other, and nothing is lost but tabs and readouts.
(() => {
  const all = (selector, below = document) => [...below.querySelectorAll(selector)];
  const root = document.documentElement;
  root.classList.add("live");

  const tabs = all("[role=tab]"), panels = all("[role=tabpanel]");
  const choose = (tab, focus) => {
    for (const other of tabs) {
      const chosen = other === tab;
      other.setAttribute("aria-selected", chosen);
      other.tabIndex = chosen ? 0 : -1;
    }
    for (const panel of panels) panel.toggleAttribute("data-hidden", panel.id !== tab.getAttribute("aria-controls"));
    if (focus) tab.focus();
    tab.scrollIntoView({ block: "nearest", inline: "nearest" });
  };
  tabs.forEach((tab, at) => {
    tab.addEventListener("click", () => choose(tab, false));
    tab.addEventListener("keydown", (event) => {
      const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      choose(tabs[(to + tabs.length) % tabs.length], true);
    });
  });
  const fromAddress = () => tabs.find((tab) => "#" + tab.getAttribute("aria-controls") === location.hash);
  if (tabs.length) choose(fromAddress() || tabs[0], false);
  addEventListener("hashchange", () => fromAddress() && choose(fromAddress(), false));

  const theme = document.querySelector("button.theme");
  theme.hidden = false;
  theme.addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  });

  const nearest = (values, wanted) => {
    let best = 0;
    values.forEach((value, at) => { if (Math.abs(value - wanted) < Math.abs(values[best] - wanted)) best = at; });
    return best;
  };
  for (const svg of all("svg[data-chart]")) {
    const data = JSON.parse(svg.dataset.chart), left = +svg.dataset.left, right = +svg.dataset.right;
    const cursor = svg.querySelector(".cursor"), readout = svg.parentElement.querySelector(".readout");
    if (!data.series.length) continue;
    let at = data.high;
    const show = (x) => {
      at = Math.min(data.high, Math.max(data.low, x));
      const place = left + (at - data.low) / (data.high - data.low) * (right - left);
      cursor.setAttribute("x1", place);
      cursor.setAttribute("x2", place);
      const found = data.series.map((one) => one.name + " " + one.y[nearest(one.x, at)]);
      readout.textContent = data.label + " " + Number(at.toPrecision(5)).toLocaleString("en") + ": " + found.join(", ");
    };
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect(), x = (event.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
      show(data.low + (x - left) / (right - left) * (data.high - data.low));
    });
    svg.addEventListener("keydown", (event) => {
      const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (by === undefined) return;
      event.preventDefault();
      show(at + by * (data.high - data.low) / 50);
    });
  }

  const map = document.querySelector(".map");
  if (map) {
    const data = JSON.parse(map.dataset.map), views = all(".scatter", map), shown = map.querySelector(".shown");
    const picture = shown.querySelector("svg"), caption = shown.querySelector("span");
    const show = (svg, at) => {
      const dots = all("circle:not(.ring)", svg), dot = dots[at], ring = svg.querySelector(".ring");
      ring.setAttribute("cx", dot.getAttribute("cx"));
      ring.setAttribute("cy", dot.getAttribute("cy"));
      picture.setAttribute("viewBox", `${at % data.columns * data.side} ${Math.floor(at / data.columns) * data.side} ${data.side} ${data.side}`);
      caption.textContent = data.said[at];
      shown.classList.add("on");
    };
    for (const svg of views) {
      let at = 0;
      const dots = all("circle:not(.ring)", svg);
      const places = dots.map((dot) => [+dot.getAttribute("cx"), +dot.getAttribute("cy")]);
      svg.addEventListener("pointermove", (event) => {
        const box = svg.getBoundingClientRect(), scale = svg.viewBox.baseVal.width / box.width;
        const x = (event.clientX - box.left) * scale, y = (event.clientY - box.top) * scale;
        const away = places.map((place) => (place[0] - x) ** 2 + (place[1] - y) ** 2);
        at = away.indexOf(Math.min(...away));
        show(svg, at);
      });
      svg.addEventListener("keydown", (event) => {
        const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
        if (by === undefined) return;
        event.preventDefault();
        at = (at + by + dots.length) % dots.length;
        show(svg, at);
      });
    }
    const form = document.querySelector(".choices");
    form.hidden = false;
    const apply = () => {
      const by = new FormData(form).get("by"), view = +(new FormData(form).get("view") || 0);
      views.forEach((svg, at) => {
        svg.classList.toggle("by-label", by === "label");
        svg.classList.toggle("by-prototype", by !== "label");
        svg.style.display = svg.nextElementSibling.style.display = at === view ? "block" : "none";
      });
      for (const legend of all(".colours")) legend.style.display = legend.classList.contains("by-" + by) ? "" : "none";
    };
    form.addEventListener("change", apply);
    apply();
  }
})();
