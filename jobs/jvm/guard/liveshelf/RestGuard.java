package liveshelf;

import java.util.HashSet;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.JobManagerOptions;
import org.apache.flink.configuration.RestOptions;
import org.apache.flink.runtime.io.network.netty.InboundChannelHandlerFactory;
import org.apache.flink.runtime.rest.FileUploadHandler;
import org.apache.flink.shaded.netty4.io.netty.channel.ChannelFutureListener;
import org.apache.flink.shaded.netty4.io.netty.channel.ChannelHandler;
import org.apache.flink.shaded.netty4.io.netty.channel.ChannelHandlerContext;
import org.apache.flink.shaded.netty4.io.netty.channel.ChannelInboundHandlerAdapter;
import org.apache.flink.shaded.netty4.io.netty.channel.ChannelPipeline;
import org.apache.flink.shaded.netty4.io.netty.handler.codec.http.DefaultFullHttpResponse;
import org.apache.flink.shaded.netty4.io.netty.handler.codec.http.HttpHeaders;
import org.apache.flink.shaded.netty4.io.netty.handler.codec.http.HttpRequest;
import org.apache.flink.shaded.netty4.io.netty.handler.codec.http.HttpResponseStatus;
import org.apache.flink.shaded.netty4.io.netty.handler.codec.http.HttpVersion;
import org.apache.flink.shaded.netty4.io.netty.handler.codec.http.LastHttpContent;
import org.apache.flink.shaded.netty4.io.netty.util.ReferenceCountUtil;

/**
 * Refuses what a page of another site sends to Flink's REST interface through somebody's browser.
 *
 * <p>Flink takes a job from whoever reaches its port, and a page may send a form to any address that its visitor
 * reaches, the visitor's own machine too. A browser says where a request comes from (Origin, Sec-Fetch-Site). Flink's
 * client says neither. Where the interface listens on the loopback address only, the name under which it was asked must
 * be one of this machine's: a page whose own name leads here is refused as well.
 */
public final class RestGuard implements InboundChannelHandlerFactory {
    private static final Set<String> LOOPBACK = Set.of("localhost", "127.0.0.1", "[::1]");

    @Override
    public int priority() {
        return 0;
    }

    @Override
    public Optional<ChannelHandler> createHandler(Configuration configuration, Map<String, String> responseHeaders) {
        String bound = configuration.get(RestOptions.BIND_ADDRESS);
        Set<String> known = new HashSet<>();
        configuration.getOptional(RestOptions.ADDRESS).ifPresent(known::add);
        configuration.getOptional(JobManagerOptions.ADDRESS).ifPresent(known::add);
        return Optional.of(new Handler(known, bound != null && LOOPBACK.contains(bound)));
    }

    /** Returns whether a request with these headers may come from a page of another site. */
    static boolean isForeign(String origin, String site, String host, Set<String> known, boolean onlyHere) {
        String name = host == null ? "" : withoutPort(host);
        boolean ours = LOOPBACK.contains(name) || known.contains(name);
        if (onlyHere && host != null && !ours) {
            return true;
        }
        if (site != null && !site.equals("same-origin") && !site.equals("none")) {
            return true;
        }
        if (origin == null) {
            return false;
        }
        boolean same = origin.equals("http://" + host) || origin.equals("https://" + host);
        return !same || !(ours || isNumber(name));
    }

    private static String withoutPort(String host) {
        int colon = host.lastIndexOf(':');
        return colon > host.lastIndexOf(']') ? host.substring(0, colon) : host;
    }

    private static boolean isNumber(String name) {
        return name.startsWith("[") || name.matches("[0-9.]+");
    }

    /**
     * Stands before Flink's own handler of uploads, which writes what comes into files before anybody has looked at it. Of a
     * refused request nothing is kept: it is read to its end, so that its sender gets the answer, and let go.
     */
    private static final class Handler extends ChannelInboundHandlerAdapter {
        private final Set<String> known;
        private final boolean onlyHere;
        private boolean refusing;

        Handler(Set<String> known, boolean onlyHere) {
            this.known = known;
            this.onlyHere = onlyHere;
        }

        @Override
        public void handlerAdded(ChannelHandlerContext context) {
            ChannelPipeline pipeline = context.pipeline();
            ChannelHandlerContext uploads = pipeline.context(FileUploadHandler.class);
            if (uploads != null && pipeline.names().indexOf(uploads.name()) < pipeline.names().indexOf(context.name())) {
                pipeline.addBefore(uploads.name(), "liveshelf-guard", new Handler(known, onlyHere));
                pipeline.remove(this);
            }
        }

        @Override
        public void channelRead(ChannelHandlerContext context, Object message) throws Exception {
            if (message instanceof HttpRequest request) {
                refusing = isForeign(request.headers());
            }
            if (!refusing) {
                super.channelRead(context, message);
                return;
            }
            boolean whole = message instanceof LastHttpContent;
            ReferenceCountUtil.release(message);
            if (whole) {
                DefaultFullHttpResponse answer =
                        new DefaultFullHttpResponse(HttpVersion.HTTP_1_1, HttpResponseStatus.FORBIDDEN);
                answer.headers().set("Content-Length", 0);
                context.writeAndFlush(answer).addListener(ChannelFutureListener.CLOSE);
            }
        }

        /** Files that none of Flink's handlers has taken go with their connection. */
        @Override
        public void channelInactive(ChannelHandlerContext context) throws Exception {
            FileUploadHandler.getMultipartFileUploads(context).close();
            super.channelInactive(context);
        }

        private boolean isForeign(HttpHeaders headers) {
            return RestGuard.isForeign(
                    headers.get("Origin"), headers.get("Sec-Fetch-Site"), headers.get("Host"), known, onlyHere);
        }
    }
}
