// Charts of the figures of the last 15 minutes, which the service keeps.
"use strict";

const charts = document.getElementById("charts");
if (charts) {
  const COLOURS = ["#1f77b4", "#d9822b", "#2e8b57", "#b5369b", "#7f7f00", "#c23b22", "#5b5bd6", "#008b8b"];
  const DASHES = [[], [6, 3], [2, 2], [8, 3, 2, 3]];
  const EVERY = 3000;
  const plots = [];
  const ink = () => getComputedStyle(document.body).color;

  const make = (chart, data, at) => {
    const place = document.createElement("div");
    charts.append(place);
    const axis = { stroke: ink, grid: { stroke: "#8884", width: 1 }, ticks: { stroke: "#8888", width: 1 } };
    const options = {
      title: chart.title,
      width: charts.clientWidth || 600,
      height: 220,
      scales: { x: { time: false } },
      axes: [{ ...axis, values: (_, ticks) => ticks.map((tick) => `${tick} s`) }, axis],
      series: [
        { label: "Since the start" },
        ...chart.series.map((series, n) => ({
          label: series.label,
          stroke: COLOURS[n % COLOURS.length],
          dash: DASHES[Math.floor(n / COLOURS.length) % DASHES.length],
          width: 2,
        })),
      ],
    };
    plots[at] = new uPlot(options, data, place);
  };

  const draw = async () => {
    const answer = await fetch(charts.dataset.figures);
    if (!answer.ok) {
      return;
    }
    const figures = await answer.json();
    figures.charts.forEach((chart, at) => {
      const data = [figures.seconds, ...chart.series.map((series) => series.values)];
      if (plots[at] && plots[at].series.length === data.length) {
        plots[at].setData(data);
      } else {
        make(chart, data, at);
      }
    });
  };

  const turn = () => {
    if (!document.hidden) {
      draw().catch(() => {});
    }
    setTimeout(turn, EVERY);
  };
  addEventListener("resize", () => plots.forEach((plot) => plot.setSize({ width: charts.clientWidth, height: 220 })));
  turn();
}
