// Threads, direct buffers, deflate, a child process: what a Java machine allocates outside its own heap.
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.zip.Deflater;

public class Work {
    public static void main(String[] arguments) throws Exception {
        long[] sums = new long[4];
        List<Thread> threads = new ArrayList<>();
        for (int t = 0; t < sums.length; t++) {
            int number = t;
            Thread thread = new Thread(() -> {
                for (int i = 1; i < 200; i++) {
                    ByteBuffer buffer = ByteBuffer.allocateDirect(i * 500);
                    for (int at = 0; at < buffer.capacity(); at += 97) {
                        buffer.put(at, (byte) (i + number));
                        sums[number] += buffer.get(at);
                    }
                }
            });
            threads.add(thread);
            thread.start();
        }
        for (Thread thread : threads) {
            thread.join();
        }
        for (long sum : sums) {
            System.out.println(sum);
        }
        Deflater deflater = new Deflater(9);
        byte[] text = "some text ".repeat(100000).getBytes();
        deflater.setInput(text);
        deflater.finish();
        System.out.println(deflater.deflate(new byte[text.length]));
        Process child = new ProcessBuilder("sh", "-c", "echo child").start();
        System.out.print(new String(child.getInputStream().readAllBytes()));
        System.out.println(child.waitFor());
    }
}
