"""The composition root: every part by name, the order they start in, and the reverse, in which they stop."""

import asyncio
import contextlib
import gc
import logging
import time
from collections.abc import Callable

from collector import __version__, startup
from collector.api import metrics_scenes
from collector.api.route import Context, LastBatch
from collector.api.second import SecondApi
from collector.api.security import main_port_security
from collector.api.server import ApiServer
from collector.core.entities import EntityTable
from collector.core.light import LightStore
from collector.core.metrics import DYNAMIC_LIMIT, DYNAMIC_OF_A_NODE, Kind, MetricTable
from collector.core.store import MetricStore
from collector.durations import format_duration
from collector.errors import StartError
from collector.kube.config import connect
from collector.kube.lease import Elector
from collector.kube.listers import KubeState, Listers
from collector.kubelets import MODES, Kubelets, preparation
from collector.leading import elector_of
from collector.light import LightCadence
from collector.logs import SIZES
from collector.loopmonitor import LoopMonitor
from collector.manager import Manager, Tick
from collector.options import SECOND, Options
from collector.process import allow_many_connections, settle_garbage_collector
from collector.processors import build_pipeline, pipeline_steps
from collector.room import Room
from collector.secure import SecureServer, start_if_asked
from collector.selfmetrics import Counts, SelfMetrics
from collector.signals import stop_requested
from collector.sources.endpoints import plan_of
from collector.sources.rounds import ScrapeReport
from collector.sources.scrape import ScrapeManager
from collector.sources.settings import SourceSettings
from collector.sources.tokens import ClusterToken
from collector.turns import Turns
from collector.vitals import LIGHT, LOOP, LOOP_LIMIT_S, TICKS, Pulse, Vitals, stuck_limit
from collector.wanted import built_sinks, label_copier, past_of, spool_limits, warm_sink
from sinks.manager import Outcome, SinkManager
from sinks.runner.place import state_directory, with_spools
from sinks.spool.account import Balance
from sinks.warm import Restored, restore

log = logging.getLogger(__name__)


class Collector:
    """One running collector: `start`, then `run`, then `stop`.

    The constructor reads the options and opens nothing; `port_flag` is what to turn when the port is taken. `clock`
    (Unix time in seconds) is the present of ages, of what is kept and of requests without an end. Raises UsageError
    for a malformed source or sink URI.
    """

    def __init__(
        self,
        options: Options,
        *,
        ticked: Callable[[Tick], None] = lambda _tick: None,
        port_flag: str = "--heapster-port",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._options = options
        self._clock = clock
        self._on_tick = ticked
        self._closing = contextlib.AsyncExitStack()
        # In Heapster's order: of several faults it is the first that is told.
        self._copier = label_copier(options)
        self.settings = SourceSettings.parse(options.source[0])
        turns = Turns()
        self.kubelets = Kubelets(options, self.settings, turns)
        self.metrics = SelfMetrics(__version__)
        self.metrics.kubelet_identity(self.kubelets.mode, MODES)
        built = built_sinks(options)
        sinks = [sink for _, sink in built]
        self.history = past_of(options, built)
        stores = [sink for sink in sinks if isinstance(sink, MetricStore)]
        self._stored = bool(stores) or not options.disable_metric_sink
        self.store = stores[0] if stores else MetricStore(clock=clock)
        """Stays empty with --disable-metric-sink."""
        offered = with_spools(sinks, options.spool_dir, spool_limits(options), clock=clock)
        self._given_sinks = offered
        self.light: LightCadence | None = None
        """The light cadence; None where nobody would ask for what it learns."""
        self._warm = warm_sink(options, self._light_store)
        own = [self.store] if self._stored and not stores else []
        self.sinks = SinkManager(
            [*offered, *own, *([self._warm] if self._warm is not None else [])],
            offer_timeout=options.sink_export_data_timeout / SECOND,
            observer=self._exported,
            leads=not options.leader_elect,
        )
        self._elector: Elector | None = None
        self._last_batch: LastBatch | None = None
        self._refused_metrics = 0
        self._settled = False
        self.vitals = Vitals()
        self._listers = Listers()
        context = self._context = Context(
            self.store,
            self.metrics,
            clock=clock,
            listers=self._listers,
            light=self._light_store,
            history=self.history,
            export_disabled=options.disable_export,
            extended=options.extended_metrics,
            most_watches=options.api_max_watches,
            last_batch=None if self._stored else lambda: self._last_batch,
            vitals=self.vitals,
            turns=turns,
            ledger=lambda: [sink.document() for sink in self.sinks.ledger()],
            kubelets=self.kubelets.states.document,
            kubelet=self.kubelets.states.document_of,
        )
        self.room = Room(
            options.memory_budget, self.store, self.sinks, context.cluster_text, self._light_store, self.metrics.memory
        )
        certificates, gate = main_port_security(options)
        self.api = ApiServer(
            context,
            host=options.listen_ip,
            port=options.heapster_port,
            flag=port_flag,
            tls=certificates,
            gate=gate,
        )
        self.secure: SecureServer | None = None
        self._source: ScrapeManager | None = None
        self._manager: Manager | None = None

    @property
    def port(self) -> int:
        """The port the API listens on."""
        return self.api.port

    @property
    def context(self) -> Context:
        """What handlers read: for benchmarks and tests that serve it once more."""
        return self._context

    async def start(self) -> None:
        """Bring every part up. Raises StartError; what was started until then is stopped again."""
        try:
            await self._start()
        except BaseException:
            await self._closing.aclose()
            raise

    async def _start(self) -> None:
        options, settings = self._options, self.settings
        allow_many_connections()
        if self.history is not None:
            self._closing.push_async_callback(self.history.stop)
        # First of all the port: a second collector on one machine fails here, before it asks anybody anything.
        if options.main_port:
            await self.api.start()
            self._closing.push_async_callback(self.api.stop)
        entities, metrics = EntityTable(), MetricTable()
        restored = await self._go_on(entities, metrics)
        connection = await connect(
            in_cluster=settings.in_cluster,
            kubeconfig=settings.kubeconfig or None,
            server=settings.server or None,
            insecure=settings.insecure,
            use_service_account=settings.use_service_account,
        )
        self._closing.push_async_callback(connection.close)
        self._elector = elector_of(options, connection, self._lead)
        # Before there is any data: while its discovery is not answered, kubectl complains and no namespace can go.
        self.secure = await start_if_asked(options, self._context, connection, SecondApi(self._context))
        if self.secure is not None:
            self._closing.push_async_callback(self.secure.stop)
        state = KubeState(connection, listers=self._listers)
        await state.start()
        self._closing.push_async_callback(state.stop)
        await state.wait_synced(options.kube_start_timeout / SECOND)
        self.vitals.synced = True
        token = ClusterToken(connection)
        client = self.kubelets.client(connection, token, state.nodes, state_directory())
        await client.start()
        self._closing.push_async_callback(client.close)
        self.sinks.leave_out(await startup.failed_sinks(self._given_sinks, asked_for=bool(options.sink)))
        self.sinks.start()
        self._closing.push_async_callback(self.sinks.stop, options.stop_timeout / SECOND)
        monitor = LoopMonitor(self.metrics.loop_blocked)
        monitor.start()
        self.vitals.watch(LOOP, Pulse("the event loop", monitor.idle, LOOP_LIMIT_S))
        self._closing.push_async_callback(monitor.stop)

        pipeline = build_pipeline(
            state.pods,
            state.namespaces,
            state.nodes,
            self._copier,
            settings.host_id_annotation,
            previous=restored.batches[-1] if restored.batches else None,
        )
        self._source = ScrapeManager(
            client.fetch,
            state.nodes,
            entities,
            metrics,
            port=settings.kubelet_port,
            timeout_s=options.scrape_timeout / SECOND,
            concurrency=options.scrape_concurrency,
            jitter_s=options.scrape_jitter / SECOND,
            plan=plan_of(settings),
            prepare=preparation(token, client),
            scraped=self.metrics.scraped,
            clock=self._clock,
            addressing=self.kubelets.addressing,
            states=self.kubelets.states,
            max_entities=options.max_answer_entities,
            turns=self.kubelets.turns,
        )
        self._manager = Manager(
            self._source,
            lambda batch: pipeline_steps(pipeline, batch, self.metrics.processed),
            self.sinks.export,
            resolution_ns=options.metric_resolution,
            offset_ns=options.scrape_offset,
            begins=self.room.begin,
            ticked=self._ticked,
            lost=self.metrics.tick_lost,
            clock=self._clock,
            turns=self.kubelets.turns,
        )
        limit = stuck_limit(options.metric_resolution, options.scrape_timeout)
        self.vitals.watch(TICKS, Pulse("the cycle of collecting", self._manager.idle, limit))
        if self.secure is not None and options.light_resolution:
            self.light = LightCadence(
                options,
                client.fetch,
                state.nodes,
                entities,
                port=settings.kubelet_port,
                prepare=preparation(token, client),
                metrics=self.metrics,
                ended=lambda: metrics_scenes.advance(self._context),
                clock=self._clock,
                kubelets=self.kubelets,
            )
            restored.light(self.light.store)
            limit = stuck_limit(options.light_resolution, options.scrape_timeout)
            self.vitals.watch(LIGHT, Pulse("the light cadence", self.light.idle, limit))
        settle_garbage_collector()
        # What stays set aside at the end of the process counts as leaked by DuckDB's binding, which then says so.
        self._closing.callback(gc.unfreeze)
        log.info(
            "collecting from %d nodes every %s", len(state.nodes.items), format_duration(options.metric_resolution)
        )

    async def run(self) -> None:
        """Tick until cancelled. Raises ServerStoppedError when the second server is gone."""
        assert self._manager is not None, "start comes first"
        parts = [asyncio.create_task(self._manager.run(), name="ticks")]
        if self.secure is not None:
            parts.append(asyncio.create_task(self.secure.run(), name="second server"))
        if self._elector is not None:
            parts.append(asyncio.create_task(self._elector.run(), name="leader election"))
        if self.light is not None:
            parts.append(asyncio.create_task(self.light.run(), name="light cadence"))
        try:
            # Not gather, which would cancel them too: the one that gives the lease back is cancelled once.
            ended, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for part in ended:
                part.result()
        finally:
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)

    async def tick(self, end: int) -> Tick:
        """Collect one window now, the one that ends at `end` (ns since the epoch): for benchmarks and tests."""
        assert self._manager is not None, "start comes first"
        return await self._manager.tick(end)

    @property
    def report(self) -> ScrapeReport:
        """How the latest scrape went."""
        assert self._source is not None, "start comes first"
        return self._source.report

    async def stop(self) -> None:
        """Take every part down, in the reverse of the order it was brought up. What sinks hold is delivered first."""
        await self._closing.aclose()

    async def _go_on(self, entities: EntityTable, metrics: MetricTable) -> Restored:
        """With what the process before left: first of all, so that the API answers at once."""
        if self._warm is None:
            return Restored()
        try:
            await asyncio.to_thread(self._warm.start)
        except StartError as error:
            log.warning("%s", error)
            self.sinks.leave_out([self._warm])
            return Restored()
        now = int(self._clock() * SECOND)
        return await restore(self._warm.directory, entities, metrics, self.store, now=now)

    def _light_store(self) -> LightStore | None:
        return self.light.store if self.light is not None else None

    def _lead(self, leads: bool) -> None:
        self.metrics.led(leads=leads)
        self.sinks.lead(leads=leads)

    def _exported(self, sink: str, seconds: float, outcome: Outcome) -> None:
        self.metrics.exported(sink, seconds, outcome.value)
        if sink == self.store.name and self.light is None and self.secure is not None:
            metrics_scenes.advance(self._context)  # else each light round does

    def _tell_of_refused_metrics(self, metrics: MetricTable) -> None:
        """One line whenever more names of application metrics and resources have found no column."""
        if len(metrics.refused) > self._refused_metrics:
            self._refused_metrics = len(metrics.refused)
            log.warning(
                "%d application metrics and requested resources are left out, such as %s: there are more names of them "
                "than the %d that are kept, or a node was the first to report more than %d of them",
                len(metrics.refused),
                min(metrics.refused),
                DYNAMIC_LIMIT,
                DYNAMIC_OF_A_NODE,
            )

    def _ticked(self, tick: Tick) -> None:
        report = self.report
        entities = {kind.label: tick.batch.count(kind) for kind in Kind}
        self.metrics.ticked(
            seconds=tick.seconds,
            cpu_seconds=tick.cpu_seconds,
            batch_timestamp=tick.batch.timestamp / 1e9,
            nodes_ok=report.answered,
            nodes_failed=sum(report.failed.values()),
            nodes_left_out=report.left_out,
            entities=entities,
            late_answers=report.late,
        )
        self._tell_of_refused_metrics(tick.batch.metrics)
        for sink in self.sinks.ledger():
            self.metrics.ledger(sink.name, "batches", **_counts(sink.ticks))
            self.metrics.ledger(sink.name, "points", **_counts(sink.points))
            self.metrics.waiting(sink.name, sink.queued_bytes, refused=sink.refused)
            if sink.size is not None:
                self.metrics.covering(sink.name, sink.size.limit_bytes, sink.size.covers_s)
        self._last_batch = LastBatch(tick.batch.timestamp, entities[Kind.NODE.label])
        if not self._settled:
            # The rows, names and connections of the first tick stay, as the pods of the start do.
            self._settled = True
            gc.freeze()
        if not self._stored:
            tick.batch.entities.sweep()  # the store's task where there is one
        log.log(
            SIZES,
            "batch of %s: %d nodes answered, %d failed, %d pods, %.2f s, %.0f ms CPU",
            time.strftime("%H:%M:%S", time.gmtime(tick.batch.timestamp // SECOND)),
            report.answered,
            sum(report.failed.values()),
            entities[Kind.POD.label],
            tick.seconds,
            1000 * tick.cpu_seconds,
        )
        self._on_tick(tick)


async def serve(options: Options) -> None:
    """The collector as a service: until SIGTERM or SIGINT, then stopped in order. Raises StartError."""
    collector = Collector(options)
    stopped = stop_requested()
    starting = asyncio.create_task(collector.start(), name="start")
    waiting = asyncio.create_task(stopped.wait(), name="signal")
    await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        return
    try:
        starting.result()
        running = asyncio.create_task(collector.run(), name="manager")
        await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        collector.vitals.stopping = True
        await asyncio.wait({running}, timeout=options.shutdown_delay_duration / SECOND)
        log.info("stopping: batches under way are delivered within %s", format_duration(options.stop_timeout))
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    finally:
        waiting.cancel()
        await collector.stop()


def _counts(balance: Balance) -> Counts:
    return {
        "offered": balance.scraped,
        "recovered": balance.recovered,
        "delivered": balance.delivered,
        "dropped": balance.dropped,
        "queued": balance.queued,
    }
