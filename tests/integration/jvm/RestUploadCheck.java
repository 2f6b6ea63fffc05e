package liveshelf;

import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.stream.Stream;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.RestOptions;
import org.apache.flink.runtime.rest.FileUploadHandler;
import org.apache.flink.runtime.rest.handler.router.MultipartRoutes;
import org.apache.flink.shaded.netty4.io.netty.buffer.Unpooled;
import org.apache.flink.shaded.netty4.io.netty.channel.embedded.EmbeddedChannel;
import org.apache.flink.shaded.netty4.io.netty.handler.codec.http.DefaultHttpContent;
import org.apache.flink.shaded.netty4.io.netty.handler.codec.http.DefaultHttpRequest;
import org.apache.flink.shaded.netty4.io.netty.handler.codec.http.DefaultLastHttpContent;
import org.apache.flink.shaded.netty4.io.netty.handler.codec.http.HttpMethod;
import org.apache.flink.shaded.netty4.io.netty.handler.codec.http.HttpRequest;
import org.apache.flink.shaded.netty4.io.netty.handler.codec.http.HttpResponse;
import org.apache.flink.shaded.netty4.io.netty.handler.codec.http.HttpVersion;

/**
 * Uploads a file through Flink's handler of uploads and the guard, in Flink's order.
 *
 * <p>The arguments are a folder for uploads and an origin ("-" for none). A line out for each moment (half of the body, all of it,
 * connection closed): how many files there are, and the answer's status, 0 without an answer.
 */
public final class RestUploadCheck {
    public static void main(String[] arguments) throws Exception {
        Path folder = Path.of(arguments[0]);
        Configuration configuration = new Configuration();
        configuration.set(RestOptions.BIND_ADDRESS, "127.0.0.1");
        MultipartRoutes routes = new MultipartRoutes.Builder().addPostRoute("/jobs").addFileUploadRoute("/jobs").build();
        EmbeddedChannel channel = new EmbeddedChannel(
            new FileUploadHandler(folder, routes), new RestGuard().createHandler(configuration, Map.of()).orElseThrow());
        HttpRequest request = new DefaultHttpRequest(HttpVersion.HTTP_1_1, HttpMethod.POST, "/jobs");
        request.headers().set("Host", "127.0.0.1:8081").set("Content-Type", "multipart/form-data; boundary=b");
        if (!arguments[1].equals("-")) {
            request.headers().set("Origin", arguments[1]);
        }
        byte[] body = ("--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.jar\"\r\n"
            + "Content-Type: application/x-java-archive\r\n\r\n" + "x".repeat(100_000) + "\r\n--b--\r\n")
            .getBytes(StandardCharsets.US_ASCII);
        channel.writeInbound(request);
        channel.writeInbound(new DefaultHttpContent(Unpooled.copiedBuffer(body, 0, body.length / 2)));
        tell(folder, channel);
        channel.writeInbound(
            new DefaultLastHttpContent(Unpooled.copiedBuffer(body, body.length / 2, body.length - body.length / 2)));
        tell(folder, channel);
        channel.close();
        tell(folder, channel);
    }

    private static void tell(Path folder, EmbeddedChannel channel) throws Exception {
        try (Stream<Path> files = Files.walk(folder)) {
            HttpResponse answer = channel.readOutbound();
            System.out.println(files.filter(Files::isRegularFile).count() + " " + (answer == null ? 0 : answer.status().code()));
        }
    }
}
